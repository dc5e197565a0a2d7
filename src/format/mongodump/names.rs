//! The names of files in a dump: those of collections, escaped as in the query of a URL, and cut where they get too long.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha1::{Digest, Sha1};

/// The longest escaped name: with the longest ending it is still a file's name.
const LONGEST: usize = 238;

/// How much of a longer one is kept; the hash of the name follows.
const KEPT: usize = 208;

/// What stands between the two.
const DELIMITER: &str = "%24";

/// Returns the name that a collection's files begin with.
#[must_use]
pub fn escaped(collection: &str) -> String {
    let mut name = String::with_capacity(collection.len());
    for byte in collection.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => name.push(byte.into()),
            b' ' => name.push('+'),
            // Writing to a string does not fail.
            _ => drop(write!(name, "%{byte:02X}")),
        }
    }
    if name.len() > LONGEST {
        name.truncate(KEPT);
        name.push_str(DELIMITER);
        name.push_str(&URL_SAFE_NO_PAD.encode(Sha1::digest(collection.as_bytes())));
    }
    name
}

/// Whether a name was cut, so that only the metadata can tell the collection's.
#[must_use]
pub fn is_cut(name: &str) -> bool {
    name.len() == LONGEST && name.contains(DELIMITER)
}

/// Returns the collection's name; none when it was not escaped like this.
#[must_use]
pub fn unescaped(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let mut decoded = [0];
                hex::decode_to_slice(digits, &mut decoded).ok()?;
                decoded[0]
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_escaped_as_the_stock_tools_do() {
        assert_eq!(escaped("orders.2026-11_a~"), "orders.2026-11_a~");
        assert_eq!(escaped("a b/c%+$é"), "a+b%2Fc%25%2B%24%C3%A9");
        assert_eq!(unescaped("a+b%2fc%25%2B%24%C3%A9").unwrap(), "a b/c%+$é");
        assert!(unescaped("%").is_none() && unescaped("%zz").is_none() && unescaped("%ff").is_none());
        let long = "x".repeat(239);
        let cut = escaped(&long);
        assert!(is_cut(&cut) && cut.starts_with(&"x".repeat(208)), "{cut}");
        assert!(!is_cut(&escaped(&long[1..])));
    }

    proptest! {
        #[test]
        fn names_come_back(name in "\\PC{0,60}") {
            let escaped = escaped(&name);
            prop_assert!(is_cut(&escaped) || unescaped(&escaped).as_deref() == Some(&name));
        }
    }
}

//! The secrets of this run: whatever any test lets a program say, holds none of them.

use std::sync::{Mutex, PoisonError};

/// Shorter ones would be found where nobody has said them.
const SHORTEST: usize = 6;

/// What the keys begin with that programs make themselves, in front of the key.
const OWN: [&str; 2] = ["AGE-SECRET-KEY-1", "REGROW-SIGNING-KEY-1 "];

/// What each is, and the secret.
static PLANTED: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Lets nobody say this from now on.
pub fn plant(what: &str, secret: &str) {
    assert!(secret.len() >= SHORTEST, "{what} is no secret");
    let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !planted.iter().any(|(_, known)| known == secret) {
        planted.push((what.to_owned(), secret.to_owned()));
    }
}

/// Panics where a program has said a secret.
pub(super) fn is_kept(name: &str, said: &str) {
    let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    let told = planted.iter().find(|(_, secret)| said.contains(secret.as_str())).map(|(what, _)| what);
    assert!(told.is_none(), "{name} has said a secret: {told:?}");
    for begin in OWN {
        let mut follows = said.split(begin).skip(1).filter_map(|rest| rest.chars().next());
        // Of Bech32 and of Base64.
        assert!(!follows.any(|next| next.is_ascii_alphanumeric() || "+/".contains(next)), "{name} has said a key");
    }
}

//! The secrets of this run: whatever any test lets a program say, holds none of them.

use std::sync::{Mutex, PoisonError};

/// Shorter ones would be found where nobody has said them.
const SHORTEST: usize = 6;

/// What the keys begin with that programs make themselves, in front of the key.
const OWN: [&str; 2] = ["AGE-SECRET-KEY-1", "REGROW-SIGNING-KEY-1 "];

static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Lets nobody say this from now on.
pub fn plant(secret: &str) {
    assert!(secret.len() >= SHORTEST, "{secret} is no secret");
    let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !planted.iter().any(|known| known == secret) {
        planted.push(secret.to_owned());
    }
}

/// Panics where a program has said a secret.
pub(super) fn is_kept(name: &str, said: &str) {
    let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    let told = planted.iter().find(|secret| said.contains(secret.as_str()));
    assert!(told.is_none(), "{name} has said the secret {told:?}");
    for begin in OWN {
        let mut follows = said.split(begin).skip(1).filter_map(|rest| rest.chars().next());
        // Of Bech32 and of Base64.
        assert!(!follows.any(|next| next.is_ascii_alphanumeric() || "+/".contains(next)), "{name} has said a key");
    }
}

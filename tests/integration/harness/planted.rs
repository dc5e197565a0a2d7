//! The secrets of this run: whatever any test lets a program say, holds none of them.

use std::sync::{Mutex, PoisonError};

use super::Run;

/// What the keys begin with that programs make themselves, in front of the key.
const OWN: [&str; 2] = ["AGE-SECRET-KEY-1", "REGROW-SIGNING-KEY-1 "];

static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Lets nobody say this from now on.
pub fn plant(secret: &str) {
    let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !planted.iter().any(|known| known == secret) {
        planted.push(secret.to_owned());
    }
}

/// Panics where a program has said a secret.
pub(super) fn is_kept(name: &str, run: &Run) {
    let said = run.stdout_and_stderr();
    let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!planted.iter().any(|secret| said.contains(secret.as_str())), "{name} has said a secret");
    for begin in OWN {
        let follows = said.split(begin).skip(1).filter_map(|rest| rest.chars().next());
        assert!(!follows.into_iter().any(|next| next.is_ascii_alphanumeric()), "{name} has said a key");
    }
}

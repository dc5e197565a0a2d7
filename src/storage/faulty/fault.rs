//! What can befall a storage operation, and what its caller sees of it.

use std::fmt;
use std::str::FromStr;

use crate::storage::StorageError;

/// What happens to a storage operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This operation and every later one fails without effect, as if the process had been killed just
    /// before it. Uploads that were under way leave behind what a killed process would.
    Crash,
    /// This operation and every later one never answers and has no effect: time to kill the process from outside.
    Hang,
    /// Fails without effect, in a way that may pass: a time-out whose request got lost, HTTP 409, 429, 500 or 503.
    FailOnce,
    /// Takes effect, but its answer is lost: a time-out whose request arrived.
    LostReply,
    /// Fails without effect, in a way that trying again will not mend: HTTP 400.
    Refuse,
    /// Takes effect, and is reported as refused all the same.
    RefuseAfter,
    /// Fails without effect: these credentials may not. HTTP 403.
    Deny,
    /// What is there is said not to be. HTTP 404.
    Missing,
    /// Takes effect and is reported as if another had been there before: what HTTP 412 says of a request that something on
    /// the way has repeated.
    Conflict,
    /// Takes effect a little later than others that were begun after it.
    Slow,
    /// Half of what was read arrives, and nothing says so.
    Truncate,
    /// A listing is as it was before the newest of its objects.
    Stale,
    /// Whatever stores bytes finds no room. HTTP 507.
    Full,
    /// Whatever deletes is denied.
    DenyDeletes,
}

/// What an operation does, as far as faults tell operations apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Replace,
    Begin,
    Write,
    Finish,
    Abort,
    Read,
    Size,
    List,
    Delete,
    Sweep,
    Probe,
}

use Fault::{
    Conflict, Crash, Deny, DenyDeletes, FailOnce, Full, Hang, LostReply, Missing, Refuse, RefuseAfter, Slow, Stale,
    Truncate,
};

/// Every fault with its name.
const NAMES: [(Fault, &str); 14] = [
    (Crash, "crash"),
    (Hang, "hang"),
    (FailOnce, "fail-once"),
    (LostReply, "lost-reply"),
    (Refuse, "refuse"),
    (RefuseAfter, "refuse-after"),
    (Deny, "deny"),
    (Missing, "missing"),
    (Conflict, "conflict"),
    (Slow, "slow"),
    (Truncate, "truncate"),
    (Stale, "stale"),
    (Full, "full"),
    (DenyDeletes, "deny-deletes"),
];

impl Fault {
    /// Whether it befalls every operation from the chosen one on, rather than that one alone.
    pub(super) fn stays(self) -> bool {
        matches!(self, Crash | Hang | Full | DenyDeletes)
    }

    /// Whether an operation of this kind can meet it.
    pub(super) fn befalls(self, action: Action) -> bool {
        let stores =
            matches!(action, Action::Create | Action::Replace | Action::Begin | Action::Write | Action::Finish);
        match self {
            Full => stores,
            DenyDeletes => action == Action::Delete,
            Missing => matches!(action, Action::Read | Action::Size),
            Conflict => matches!(action, Action::Create | Action::Replace | Action::Finish),
            Truncate => action == Action::Read,
            Stale => action == Action::List,
            Crash | Hang | FailOnce | LostReply | Refuse | RefuseAfter | Deny | Slow => true,
        }
    }

    /// Returns what can happen by chance to an operation of this kind, and passes.
    pub(super) fn by_chance(action: Action) -> Vec<Self> {
        let passes = |fault: &Self| !matches!(fault, Crash | Hang | DenyDeletes) && fault.befalls(action);
        NAMES.iter().map(|(fault, _)| *fault).filter(passes).collect()
    }

    /// Whether the operation takes effect before it fails.
    pub(super) fn follows_the_effect(self) -> bool {
        matches!(self, LostReply | RefuseAfter | Conflict)
    }

    /// Returns the error that the caller sees; none where the operation succeeds.
    pub(super) fn error(self, action: Action, key: &str) -> Option<StorageError> {
        let (operation, key) = (format!("{} {key}", action.verb()), key.to_owned());
        let unavailable = |reason: &str| StorageError::Unavailable {
            operation: operation.clone(),
            reason: format!("{reason} (simulated)"),
        };
        let other = |reason: &str| StorageError::Other {
            operation: operation.clone(),
            reason: format!("{reason} (simulated)"),
        };
        match self {
            Hang | Slow | Truncate | Stale => None,
            Crash => Some(other("the process was killed before this storage operation")),
            FailOnce => Some(unavailable("it failed once")),
            LostReply => Some(unavailable("the answer was lost")),
            Refuse => Some(other("the request was refused")),
            RefuseAfter => Some(other("the request was refused, and carried out all the same")),
            Deny | DenyDeletes => {
                let (operation, reason) =
                    (action.verb().to_owned(), "these credentials may not (simulated)".to_owned());
                Some(StorageError::Denied { place: key, operation, reason })
            }
            Missing => Some(StorageError::NotFound { key }),
            Conflict if action == Action::Replace => Some(StorageError::Changed { key }),
            Conflict => Some(StorageError::AlreadyExists { key }),
            Full => Some(StorageError::Full { place: format!("the place of {key} (simulated)") }),
        }
    }
}

impl Action {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Begin => "begin",
            Self::Write => "write",
            Self::Finish => "finish",
            Self::Abort => "abort",
            Self::Read => "read",
            Self::Size => "find the size of",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Sweep => "sweep",
            Self::Probe => "probe the store",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(fault, _)| fault == self).map(|(_, name)| *name);
        f.pad(name.expect("every fault has a name"))
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, name)| *name == text).map(|(fault, _)| *fault);
        found.ok_or_else(|| format!("'{text}' is no fault"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_named_and_can_befall_something() {
        for (fault, name) in NAMES {
            assert_eq!(name.parse::<Fault>().unwrap(), fault);
            assert_eq!(fault.to_string(), name);
            let actions = [Action::Create, Action::Read, Action::List, Action::Delete];
            assert!(actions.into_iter().any(|action| fault.befalls(action)), "{fault}");
        }
        assert!("a fault".parse::<Fault>().is_err());
    }
}

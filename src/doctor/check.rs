//! One check: what was done, what was found, and what mends it.

use std::fmt::Display;

use crate::error::{Error, Kind};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Ok,
    /// It works, and somebody should know something.
    Warning,
    /// It does not work, or will not when it is needed.
    Problem,
    /// It needs what another check found missing.
    Skipped,
}

/// What one check did and found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Check {
    /// Its name, which stays.
    pub name: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did.
    pub did: String,
    /// What it found.
    pub found: String,
    /// What to do about it; none where there is nothing to do.
    pub fix: Option<String>,
    /// Whether the configuration or a privilege is what is wrong.
    #[serde(skip)]
    pub is_configuration: bool,
}

impl Check {
    /// Tells that there is no configuration, or none that makes sense: then nothing else can be checked.
    #[must_use]
    pub fn of_configuration(error: &Error) -> Self {
        doing("configuration", "read it").failed(error)
    }
}

/// A check that is under way: its name and what it does.
#[derive(Debug, Clone)]
pub(super) struct Doing {
    name: &'static str,
    did: String,
}

/// Begins a check.
pub(super) fn doing(name: &'static str, did: impl Into<String>) -> Doing {
    Doing { name, did: did.into() }
}

impl Doing {
    pub(super) fn ok(self, found: impl Display) -> Check {
        self.end(Outcome::Ok, found, None)
    }

    pub(super) fn warning(self, found: impl Display, fix: impl Into<String>) -> Check {
        self.end(Outcome::Warning, found, Some(fix.into()))
    }

    /// Ends it with something wrong in the configuration or with a privilege.
    pub(super) fn misconfigured(self, found: impl Display, fix: impl Into<String>) -> Check {
        Check { is_configuration: true, ..self.end(Outcome::Problem, found, Some(fix.into())) }
    }

    /// Ends it with something else that is wrong.
    pub(super) fn problem(self, found: impl Display, fix: impl Into<String>) -> Check {
        self.end(Outcome::Problem, found, Some(fix.into()))
    }

    /// Ends it with an error, whose hint is what mends it.
    pub(super) fn failed(self, error: &Error) -> Check {
        let fix = remedy(error);
        let is_configuration = error.kind() == Kind::Configuration;
        Check { is_configuration, ..self.end(Outcome::Problem, error, fix) }
    }

    /// Ends it with an error that stands in the way of knowing, and of nothing else.
    pub(super) fn unknown(self, error: &Error) -> Check {
        let fix = remedy(error);
        self.end(Outcome::Warning, error, fix)
    }

    /// Ends it before it began; `missing` is what it needs.
    pub(super) fn skipped(self, missing: &str) -> Check {
        self.end(Outcome::Skipped, format!("not checked: {missing}"), None)
    }

    fn end(self, outcome: Outcome, found: impl Display, fix: Option<String>) -> Check {
        let Self { name, did } = self;
        Check { name, outcome, did, found: found.to_string(), fix, is_configuration: false }
    }
}

/// Returns what mends an error. Many send people to the doctor, who are there already.
fn remedy(error: &Error) -> Option<String> {
    let hint = error.hint()?;
    Some(hint.split("; 'regrow doctor'").next().unwrap_or(hint).to_owned())
}

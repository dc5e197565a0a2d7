//! What a check has found.

use crate::format::evidence::{Check, CheckOutcome};

/// How many differences are told for each check.
const TOLD: usize = 5;

/// What one check has found. The details name collections: they are for whoever may know these, never for evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub name: String,
    /// How it ended.
    pub outcome: CheckOutcome,
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them are not as they should be.
    pub failed: u64,
    /// The first differences, or why nothing can be said.
    pub details: Vec<String>,
    /// What it means that nothing is wrong.
    means: &'static str,
}

impl Finding {
    /// Returns one that has found nothing wrong yet; `means` says what that means in the end.
    pub(super) fn about(name: &str, means: &'static str) -> Self {
        let (checked, failed, details) = (0, 0, Vec::new());
        Self { name: name.to_owned(), outcome: CheckOutcome::Passed, checked, failed, details, means }
    }

    /// Returns one that nothing can be said about.
    pub(super) fn unknown(name: &str, why: &str) -> Self {
        Self { outcome: CheckOutcome::Unknown, details: vec![why.to_owned()], ..Self::about(name, "") }
    }

    /// Notes that something was looked at.
    pub(super) fn count(&mut self) {
        self.checked += 1;
    }

    /// Notes that something is not as it should be.
    pub(super) fn fail(&mut self, what: String) {
        self.outcome = CheckOutcome::Failed;
        self.failed += 1;
        if self.details.len() < TOLD {
            self.details.push(what);
        }
    }

    /// Returns what was found, for people who may know the names.
    #[must_use]
    pub fn detail(&self) -> String {
        let more = if self.failed > self.details.len() as u64 { "; and more" } else { "" };
        match self.outcome {
            CheckOutcome::Passed => self.in_public(),
            CheckOutcome::Failed | CheckOutcome::Unknown => format!("{}{more}", self.details.join("; ")),
        }
    }

    /// Returns what evidence holds of it: no names of namespaces.
    #[must_use]
    pub fn as_recorded(&self) -> Check {
        let detail = match self.outcome {
            CheckOutcome::Unknown => self.details.join("; "),
            CheckOutcome::Passed | CheckOutcome::Failed => self.in_public(),
        };
        Check { name: self.name.clone(), outcome: self.outcome, detail }
    }

    fn in_public(&self) -> String {
        match (self.failed, self.checked) {
            (0, checked) => format!("{}, {checked} checked", self.means),
            (failed, checked) => format!("{failed} not as they should be, of {checked} checked"),
        }
    }
}

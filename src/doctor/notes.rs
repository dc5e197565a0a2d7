//! Several remarks of one check: the worst decides, and each has its remedy.

use super::check::{Check, Doing};

/// What a check has found so far.
#[derive(Default)]
pub(super) struct Notes {
    found: Vec<String>,
    fixes: Vec<String>,
    worst: Severity,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Severity {
    #[default]
    Well,
    Warning,
    Problem,
    Misconfigured,
}

impl Notes {
    /// Notes what is as it should be.
    pub(super) fn well(&mut self, found: impl Into<String>) {
        self.found.push(found.into());
    }

    pub(super) fn warning(&mut self, found: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Warning, found.into(), fix.into());
    }

    pub(super) fn problem(&mut self, found: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Problem, found.into(), fix.into());
    }

    pub(super) fn misconfigured(&mut self, found: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Misconfigured, found.into(), fix.into());
    }

    fn add(&mut self, severity: Severity, found: String, fix: String) {
        self.found.push(found);
        self.fixes.push(fix);
        self.worst = self.worst.max(severity);
    }

    /// Ends a check with everything that was noted.
    pub(super) fn end(self, doing: Doing) -> Check {
        let (found, fix) = (self.found.join("; "), self.fixes.join("\n"));
        match self.worst {
            Severity::Well => doing.ok(found),
            Severity::Warning => doing.warning(found, fix),
            Severity::Problem => doing.problem(found, fix),
            Severity::Misconfigured => doing.misconfigured(found, fix),
        }
    }
}

//! What must hold once an operation has met its fault, and once it was repeated.

use serde_json::Value;

use super::ground::Ground;
use super::operations::Operation;
use super::safe::Safe;
use crate::harness::Run;

/// The faults by which a store says that something is not there, and it is. That makes a command say so, too; but it must lose
/// nothing.
const LIES: [&str; 2] = ["missing", "stale"];

pub struct Trial<'a> {
    pub ground: &'a Ground,
    pub operation: &'a Operation,
    /// What is there before and after.
    pub safe: &'a Safe,
    pub fault: &'a str,
}

impl Trial<'_> {
    /// Holds how a run has ended against what is there, and repeats it.
    pub async fn judge(&self, run: &Run) -> Result<(), String> {
        let outcome = self.weigh(run).await;
        outcome.map_err(|problem| format!("{problem}\n  it had ended with {}: {}", run.code, run.stderr))
    }

    async fn weigh(&self, run: &Run) -> Result<(), String> {
        let Self { ground, operation, fault, .. } = self;
        match run.code {
            0 if LIES.contains(fault) => {}
            0 => operation.is_done(ground, run, fault).await?,
            137 => {}
            _ if run.stderr.contains("error: ") => {}
            _ => return Err("it failed without a word".into()),
        }
        if !operation.begins_with_nothing() {
            self.verify("after the fault").await?;
        }
        operation.repeat(ground, run.code).await?;
        if operation.captures() {
            ground.has_captured_the_oplog().await?;
        }
        self.verify("after the repetition").await
    }

    /// Checks that what was safe is safe, and that a verification finds nothing wrong and names what was not finished.
    async fn verify(&self, when: &str) -> Result<(), String> {
        let now = self.safe.still_is(&self.ground.place).await.map_err(|problem| format!("{when}: {problem}"))?;
        let run = self.ground.run(self.operation.hours, &["verify", "--json"]);
        let found: Value = serde_json::from_str(&run.stdout).unwrap_or_default();
        if run.code != 0 || found["ok"] != true {
            return Err(format!("{when}: verify ends with {}: {}{}", run.code, run.stdout, run.stderr));
        }
        let unnamed = now.unfinished().into_iter().find(|id| !found["leftovers"].to_string().contains(id));
        unnamed.map_or(Ok(()), |id| Err(format!("{when}: {id} was not finished, and verify does not name it: {found}")))
    }
}

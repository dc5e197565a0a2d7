//! Whether the objectives were met over a period: a pure function of manifests, slices and evidence.
//!
//! Anyone who can read the repository computes the same. What the records do not tell is `unknown`, never met. Moments
//! at which no objective was in force are not judged.

mod assess;
mod causes;
mod exceptions;
mod exposure;
mod facts;
mod gather;
mod inventory;
pub mod model;
mod objectives;
#[cfg(test)]
mod properties;
mod reach;
mod recovery;
mod schedules;

pub use assess::assess;
pub use facts::{BackupFact, Facts, Recorded, SliceFact, TimelineFact};
pub use recovery::restore_time;

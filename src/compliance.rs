//! Whether the objectives were met over a period: a pure function of manifests, slices and evidence.
//!
//! Anyone who can read the repository computes the same. What the records do not tell is `unknown`, never met. Moments
//! at which no objective was in force are not judged.

pub mod model;

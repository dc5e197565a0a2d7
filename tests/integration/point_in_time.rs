//! Restoring to any moment: what is restored is what the source was then, byte for byte.

mod stress;
mod workload;

//! What was tried, and what came of it.

use std::collections::BTreeMap;

/// Counts cases; whatever was lost is named at the end.
#[derive(Default)]
pub struct Tally {
    /// By operation and fault.
    tried: BTreeMap<(String, String), u32>,
    /// How the commands that met their fault ended, by exit code; 137 is killed.
    ended: BTreeMap<i32, u32>,
    lost: Vec<String>,
    missed: u32,
}

impl Tally {
    /// Counts a case that met its fault, and how it came out.
    pub fn add(&mut self, operation: &str, fault: &str, exit: i32, outcome: Result<(), String>) {
        *self.tried.entry((operation.to_owned(), fault.to_owned())).or_default() += 1;
        *self.ended.entry(exit).or_default() += 1;
        if let Err(problem) = outcome {
            println!("LOST: {operation}, {fault}: {problem}");
            self.lost.push(format!("{operation}, {fault}: {problem}"));
        }
    }

    /// Counts a case that never met its fault: how many storage operations there are differs a little from run to run.
    pub fn miss(&mut self) {
        self.missed += 1;
    }

    /// Prints the counts, and panics with everything that was lost.
    pub fn settle(self) {
        let tried: u32 = self.tried.values().sum();
        for ((operation, fault), count) in &self.tried {
            println!("{operation:30} {fault:14} {count:5}");
        }
        println!("exit codes: {:?}", self.ended);
        println!("never met: {}", self.missed);
        println!("operations × faults: {tried} tried, {} survived, lost: {}", tried - self.lost(), self.lost());
        assert!(tried > 0, "nothing was tried");
        assert_eq!(self.lost, [""; 0], "{} of {tried}", self.lost.len());
    }

    fn lost(&self) -> u32 {
        u32::try_from(self.lost.len()).expect("no more than were tried")
    }
}

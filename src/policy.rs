//! Decisions without any I/O: what is due when, and what is kept.
//!
//! Everything here is a function of the time and of facts that it is given, so a simulated year takes a second.

mod agenda;
mod cron;
mod due;
pub mod history;
pub mod retention;
mod schedule;
mod timetable;

pub use agenda::{Agenda, Attempt, Consequence, Outcome, Todo};
pub use cron::CronExpression;
pub use due::Decision;
pub use retention::Retention;
pub use schedule::Schedule;
pub use timetable::Timetable;

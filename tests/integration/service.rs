//! The service: what it does by itself, when, and what becomes of it when things fail.

mod year;

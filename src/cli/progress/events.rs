//! Events: a line of JSON each. The fields are in the README.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Display, Shown, beside, in_words};

pub(super) struct Events;

impl Display for Events {
    const EVERY: Duration = Duration::from_secs(1);

    fn show(&mut self, shown: &Shown<'_>) {
        print(&event("progress", shown));
    }

    fn end(&mut self, shown: &Shown<'_>, succeeded: bool) {
        let mut event = event("end", shown);
        event["succeeded"] = succeeded.into();
        print(&event);
    }
}

fn print(event: &Value) {
    beside(|| eprintln!("{event}"));
}

fn event(name: &str, shown: &Shown<'_>) -> Value {
    let parts = shown.under_way.iter().map(|part| {
        json!({
            "name": part.name,
            "step": in_words(part.step),
            "documents": part.counted.documents,
            "bytes": part.counted.bytes,
            "expected_bytes": part.counted.expected_bytes,
        })
    });
    json!({
        "event": name,
        "operation": shown.operation,
        "seconds": shown.elapsed.as_secs_f64(),
        "documents": shown.in_all.documents,
        "bytes": shown.in_all.bytes,
        "expected_bytes": shown.in_all.expected_bytes,
        "stored_bytes": shown.in_all.stored_bytes,
        "bytes_per_second": shown.bytes_per_second,
        "seconds_left": shown.left.map(|left| left.as_secs()),
        "parts": parts.collect::<Vec<_>>(),
    })
}

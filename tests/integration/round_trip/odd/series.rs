//! Time series: several hundred measurements, with all that makes the server close one bucket for another.

use mongodb::Database;
use mongodb::bson::{DateTime, RawArrayBuf, RawDocumentBuf, cstr, rawdoc};

use super::{insert, run};

/// 2026-01-01, in milliseconds.
const BEGIN: i64 = 1_767_225_600_000;

pub async fn fill(database: &Database) {
    let weather = rawdoc! { "timeField": "at", "metaField": "sensor", "granularity": "minutes" };
    run(database, rawdoc! { "create": "weather", "timeseries": weather, "expireAfterSeconds": 86_400_i64 }).await;
    run(database, rawdoc! { "create": "bare", "timeseries": { "timeField": "when.it was".replace('.', " ") } }).await;
    let hours = rawdoc! { "timeField": "at", "metaField": "m", "granularity": "hours" };
    run(database, rawdoc! { "create": "h\u{f6}urs.\n", "timeseries": hours, "collation": { "locale": "sv" } }).await;
    run(database, rawdoc! { "create": "empty", "timeseries": { "timeField": "at" } }).await;

    insert(database, "weather", &weather_measurements()).await;
    let bare =
        (0..300).map(|n: i64| rawdoc! { "when it was": DateTime::from_millis(BEGIN - n * 60_000), "b": n, "a": 0.5 });
    insert(database, "bare", &bare.collect::<Vec<_>>()).await;
    insert(database, "h\u{f6}urs.\n", &far_away()).await;

    let indexes: RawArrayBuf = [
        rawdoc! { "key": { "sensor.name": 1, "at": -1 }, "name": "by sensor" },
        rawdoc! { "key": { "at": 1 }, "name": "by time", "hidden": true },
        rawdoc! { "key": { "celsius": 1 }, "name": "by value" },
        rawdoc! { "key": { "sensor.place": "2dsphere" }, "name": "by place" },
        rawdoc! { "key": { "sensor.name": 1 }, "name": "some", "partialFilterExpression": { "sensor.name": { "$exists": true } } },
    ]
    .into_iter()
    .collect();
    run(database, rawdoc! { "createIndexes": "weather", "indexes": indexes }).await;
    run(database, rawdoc! { "create": "view of weather", "viewOn": "weather", "pipeline": [{ "$match": { "celsius": { "$gt": 3 } } }] }).await;
}

/// Out of order, with gaps, and with values whose type changes.
fn weather_measurements() -> Vec<RawDocumentBuf> {
    let measurement = |n: i64| {
        let at = DateTime::from_millis(BEGIN + n * 7919 % 400 * 600_000);
        let place = rawdoc! { "type": "Point", "coordinates": [10, n % 5] };
        let mut measurement =
            rawdoc! { "at": at, "sensor": { "name": format!("s{}", n % 5), "place": place }, "celsius": n };
        match n % 3 {
            0 => measurement.append(cstr!("note"), "text"),
            1 => measurement.append(cstr!("note"), 5.5),
            _ => {}
        }
        measurement
    };
    (0..400).map(measurement).collect()
}

/// Before 1970 and after 2038, which buckets' ids cannot express.
fn far_away() -> Vec<RawDocumentBuf> {
    let years = [-20_i64, -1, 0, 70, 200].map(|year| year * 365 * 86_400_000);
    let meta: RawArrayBuf = [1, 2].into_iter().collect();
    years
        .into_iter()
        .flat_map(|year| {
            [
                rawdoc! { "at": DateTime::from_millis(year), "m": 1, "v": 1 },
                rawdoc! { "m": meta.clone(), "at": DateTime::from_millis(year) },
            ]
        })
        .collect()
}

//! `regrow report`: whether the objectives were met over a period.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{Session, progress};
use crate::browser;
use crate::compliance::model::Period;
use crate::compliance::{Facts, assess};
use crate::error::{Error, Kind, Result};
use crate::progress::Progress;
use crate::report::{self, Format};

pub(super) const HELP: &str = "\
Computed from what the repository holds alone, so it is the same on every machine; needs no identity and no server.
Objectives are those that were recorded when they were in force. What the records do not tell is called unknown.

Without a period it is about the last whole month, or, where the repository is younger, about this one so far. The format
is that of the file's name; without a file it is Markdown. A PDF is printed by an installed browser.

Examples:
  regrow report --month 2026-10 -o report.html
  regrow report --from 2026-07-01 --to 2026-09-30 --format json";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The month, in UTC
    #[arg(long, value_name = "YYYY-MM", conflicts_with_all = ["from", "to"])]
    month: Option<String>,
    /// The first day, in UTC
    #[arg(long, value_name = "YYYY-MM-DD", requires = "to")]
    from: Option<String>,
    /// The last day, in UTC; it is part of the period
    #[arg(long, value_name = "YYYY-MM-DD", requires = "from")]
    to: Option<String>,
    /// html, pdf, json, markdown or csv [default: by the file's name, else markdown]
    #[arg(long)]
    format: Option<Format>,
    /// The file to write [default: the terminal]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let format = format(session, arguments)?;
    let repository = session.repository(&config).await?;
    let now = session.clock.now();
    let period = period(arguments, repository.created_at(), now)?;
    let progress = Progress::default();
    let gathering = Facts::gather(&repository, period, now, &progress);
    let facts = progress::show(session, "reading records", &progress, gathering).await?;
    let text = report::render(format, &assess(&facts, period), now);
    let bytes =
        if format == Format::Pdf { browser::print(&text, config.browser().as_deref())? } else { text.into_bytes() };
    match &arguments.output {
        Some(file) => {
            std::fs::write(file, bytes).map_err(|error| {
                Error::failed(format!("cannot write {}", file.display()))
                    .caused_by(error)
                    .with_hint("check that its folder exists and may be written to")
            })?;
            session.say(format_args!("Wrote {}.", file.display()));
        }
        None => std::io::stdout()
            .write_all(&bytes)
            .map_err(|error| Error::failed("cannot write the report").caused_by(error))?,
    }
    Ok(())
}

fn format(session: &Session, arguments: &Arguments) -> Result<Format> {
    let of_file = arguments.output.as_ref().and_then(|file| Format::of_file(&file.to_string_lossy()));
    if let Some(file) = arguments.output.as_ref().filter(|_| arguments.format.is_none() && !session.json)
        && of_file.is_none()
    {
        return Err(Error::new(Kind::Usage, format!("the name {} tells no format", file.display()))
            .with_hint("let it end with .html, .pdf, .json, .md or .csv, or say which with --format"));
    }
    let format = match (arguments.format, session.json) {
        (Some(format), false) => format,
        (None | Some(Format::Json), true) => Format::Json,
        (Some(_), true) => return Err(Error::new(Kind::Usage, "--json and another --format are given")),
        (None, false) => of_file.unwrap_or(Format::Markdown),
    };
    if format == Format::Pdf && arguments.output.is_none() && std::io::stdout().is_terminal() {
        return Err(
            Error::new(Kind::Usage, "a PDF is nothing for a terminal").with_hint("name a file with -o report.pdf")
        );
    }
    Ok(format)
}

fn period(arguments: &Arguments, created_at: Timestamp, now: Timestamp) -> Result<Period> {
    if let Some(month) = &arguments.month {
        let first: Date = format!("{month}-01").parse().map_err(|_| no_day(month, "YYYY-MM, such as 2026-10"))?;
        return month_of(first);
    }
    if let Some((from, to)) = arguments.from.as_ref().zip(arguments.to.as_ref()) {
        let day = |text: &String| text.parse::<Date>().map_err(|_| no_day(text, "YYYY-MM-DD, such as 2026-10-31"));
        let (first, last) = (day(from)?, day(to)?);
        let period = Period { begin: midnight(first)?, end: midnight(last.checked_add(1.day()).map_err(beyond)?)? };
        if period.begin >= period.end {
            return Err(Error::new(Kind::Usage, format!("{to} lies before {from}")));
        }
        return Ok(period);
    }
    let last = Period::month_before(now);
    if created_at < last.end { Ok(last) } else { month_of(TimeZone::UTC.to_datetime(now).date().first_of_month()) }
}

/// Returns the whole month that begins with a day.
fn month_of(first: Date) -> Result<Period> {
    let next = first.checked_add(1.month()).map_err(beyond)?;
    Ok(Period { begin: midnight(first)?, end: midnight(next)? })
}

fn midnight(day: Date) -> Result<Timestamp> {
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).map_err(beyond)
}

fn no_day(text: &str, expected: &str) -> Error {
    Error::new(Kind::Usage, format!("'{text}' is no time")).with_hint(format!("write {expected}"))
}

fn beyond(error: jiff::Error) -> Error {
    Error::new(Kind::Usage, "that time is beyond the calendar").caused_by(error)
}

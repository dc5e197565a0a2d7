//! The folder of schedules: one TOML file for each.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::explain::{explain, place};
use crate::error::{Error, Result};
use crate::format::{BackupKind, Job};
use crate::policy::{Schedule, Timetable};
use crate::units::Span;

/// How often a run that failed is tried again, unless a schedule says otherwise.
const DEFAULT_RETRIES: u32 = 3;

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    job: Spanned<JobName>,
    kind: Option<Spanned<BackupKind>>,
    cron: Spanned<String>,
    timezone: Spanned<String>,
    catch_up: Option<bool>,
    jitter: Option<Span>,
    timeout: Option<Span>,
    retries: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum JobName {
    Backup,
    Verify,
    Drill,
    Report,
    Expire,
}

/// Reads all schedules of a folder, by name.
///
/// # Errors
/// [`Kind::Configuration`](crate::error::Kind::Configuration), naming file and line, when the folder or anything in it
/// cannot be used, or two files schedule the same job.
pub fn load(folder: &Path) -> Result<Vec<Schedule>> {
    let cannot = |what: &Path, error: std::io::Error| {
        Error::configuration(format!("cannot read {}", what.display()))
            .caused_by(error)
            .with_hint("name the folder of the schedules' files, and make sure that the service may read it")
    };
    let entries = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut paths: Vec<PathBuf> = entries.map_err(|error| cannot(folder, error))?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    let mut schedules: Vec<Schedule> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| cannot(&path, error))?;
        let schedule = parse(&text, &path)?;
        if let Some(other) = schedules.iter().find(|other| other.job == schedule.job) {
            let (job, one, other) = (schedule.job, path.display(), &other.name);
            return Err(Error::configuration(format!("{one}: {job} is scheduled by {other}.toml already"))
                .with_hint("put all its times into one cron expression, or remove one of the files"));
        }
        schedules.push(schedule);
    }
    if schedules.is_empty() {
        return Err(Error::configuration(format!("there is no schedule in {}", folder.display()))
            .with_hint("copy those that come with Regrow, in schedules/, and change them as needed"));
    }
    Ok(schedules)
}

fn parse(text: &str, path: &Path) -> Result<Schedule> {
    let name = path.display().to_string();
    let file: File = toml::from_str(text).map_err(|error| explain(text, &name, &error))?;
    let job = match (*file.job.get_ref(), &file.kind) {
        (JobName::Backup, Some(kind)) => Job::Backup(*kind.get_ref()),
        (JobName::Backup, None) => {
            let place = place(text, &name, &file.job.span());
            return Err(Error::configuration(format!("{place}: a backup needs a kind"))
                .with_hint("add kind = \"daily\", \"weekly\" or \"monthly\""));
        }
        (_, Some(kind)) => {
            let place = place(text, &name, &kind.span());
            return Err(Error::configuration(format!("{place}: only backups have a kind")).with_hint("remove the line"));
        }
        (JobName::Verify, None) => Job::Verify,
        (JobName::Drill, None) => Job::Drill,
        (JobName::Report, None) => Job::Report,
        (JobName::Expire, None) => Job::Expire,
    };
    let cron = file.cron.get_ref().parse();
    let cron = cron.map_err(|error: Error| error.context(place(text, &name, &file.cron.span())))?;
    let timetable = Timetable::new(cron, file.timezone.get_ref());
    Ok(Schedule {
        name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        job,
        timetable: timetable.map_err(|error| error.context(place(text, &name, &file.timezone.span())))?,
        catch_up: file.catch_up.unwrap_or(false),
        jitter: file.jitter.map(|jitter| jitter.0).unwrap_or_default(),
        timeout: file.timeout.map(|timeout| timeout.0),
        retries: file.retries.unwrap_or(DEFAULT_RETRIES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAILY: &str = "job = \"backup\"\nkind = \"daily\"\ncron = \"0 2 * * *\"\ntimezone = \"Africa/Nairobi\"\n";

    /// Loads a folder of these files.
    fn load_files(files: &[(&str, &str)]) -> Result<Vec<Schedule>> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        load(folder.path())
    }

    #[test]
    fn the_shipped_schedules_are_what_the_policy_asks_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schedules");
        let found: Vec<(String, Job)> =
            load(&folder).unwrap().into_iter().map(|schedule| (schedule.name, schedule.job)).collect();
        let expected = [
            ("daily", Job::Backup(BackupKind::Daily)),
            ("drill", Job::Drill),
            ("expire", Job::Expire),
            ("monthly", Job::Backup(BackupKind::Monthly)),
            ("report", Job::Report),
            ("verify", Job::Verify),
            ("weekly", Job::Backup(BackupKind::Weekly)),
        ];
        assert_eq!(found, expected.map(|(name, job)| (name.to_owned(), job)));
    }

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let text = format!("{DAILY}catch_up = true\njitter = \"5m\"\ntimeout = \"2h\"\nretries = 1\n");
        let [schedule] = &load_files(&[("a.toml", &text), ("notes.txt", "x")]).unwrap()[..] else { panic!("one") };
        assert!(schedule.catch_up);
        assert_eq!((schedule.jitter.as_secs(), schedule.timeout.map(|timeout| timeout.as_secs())), (300, Some(7200)));
        assert_eq!(schedule.retries, 1);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file_and_line_and_the_nearest_right_thing() {
        let change = |from: &str, to: &str| DAILY.replace(from, to);
        for (text, said, hint) in [
            (
                change("0 2 *", "0 25 *"),
                "a.toml, line 3: '0 25 * * *' is no cron expression: the hour '25'",
                "five fields",
            ),
            (
                change("Africa/Nairobi", "Africa/Nairoby"),
                "a.toml, line 4: the time zone 'Africa/Nairoby'",
                "Africa/Nairobi",
            ),
            (change("timezone", "timezome"), "a.toml, line 4: unknown field `timezome`", "did you mean 'timezone'?"),
            (change("\"backup\"", "\"bakup\""), "a.toml, line 1: unknown variant `bakup`", "did you mean 'backup'?"),
            (change("daily", "dayly"), "a.toml, line 2:", "did you mean 'daily'?"),
            (change("kind = \"daily\"\n", ""), "a.toml, line 1: a backup needs a kind", "add kind"),
            (change("backup", "verify"), "a.toml, line 2: only backups have a kind", "remove"),
            (change("cron = \"0 2 * * *\"\n", ""), "missing field `cron`", "README"),
        ] {
            let error = load_files(&[("a.toml", &text)]).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.hint().unwrap().contains(hint), "{said}: {:?}", error.hint());
        }
    }

    #[test]
    fn two_files_for_one_job_and_folders_without_any_are_refused() {
        let error = load_files(&[("a.toml", DAILY), ("b.toml", DAILY)]).unwrap_err();
        assert!(error.to_string().contains("b.toml: the daily backup is scheduled by a.toml already"), "{error}");
        let error = load_files(&[]).unwrap_err();
        assert!(error.to_string().contains("there is no schedule in"), "{error}");
        let error = load(Path::new("/nowhere/schedules")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/schedules"), "{error}");
    }
}

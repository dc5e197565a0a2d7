//! The command line: arguments in, exit code out. One file per command; only this floor prints.
//!
//! stdout is data, stderr is talk. Every failure ends here, as one `error:` line and one `hint:` line.
#![allow(clippy::print_stdout, clippy::print_stderr)] // This is the floor that talks.

mod backup;
mod capture;
mod daemon;
mod diff;
mod doctor;
mod drill;
mod evidence;
mod expire;
mod export;
mod hold;
mod import;
mod init;
mod keygen;
mod keys;
mod lease;
mod list;
mod marks;
mod oplog;
mod output;
mod progress;
mod record;
mod report;
mod restore;
mod session;
mod show;
mod status;
mod undelete;
mod verify;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::backup::Targets;
use crate::clock::Clock;
use crate::config::Stores;
use crate::error::{Error, Kind, Result};
use crate::random::Random;
use session::Session;

const HELP: &str = "\
First steps:
  regrow keygen -o identity.txt    makes a key pair; then write regrow.toml, as the README shows
  regrow init                      creates the repository
  regrow doctor                    says what is wrong, and how to mend it
  regrow daemon                    captures the oplog and does what the schedules say; or regrow capture
  regrow backup                    takes a backup
  regrow restore latest            brings it back

Exit codes:
  0 done   1 failed   2 usage   3 configuration   4 not found   5 damage found
  6 objective missed   7 refused   75 try later   130 interrupted";

/// The heading of the options that every command has.
const GLOBAL: &str = "Global options";

/// MongoDB backup and disaster recovery that proves its backups restore.
#[derive(Debug, Parser)]
#[command(name = "regrow", version, after_help = HELP)]
struct Arguments {
    /// The configuration file [default: ./regrow.toml, then /etc/regrow/regrow.toml]
    #[arg(long, global = true, value_name = "FILE", env = "REGROW_CONFIG", help_heading = GLOBAL)]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = GLOBAL)]
    verbose: u8,
    /// Print no remarks, only the answer and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = GLOBAL)]
    quiet: bool,
    /// How to show progress
    #[arg(
        long, global = true, value_name = "HOW", default_value = "auto", env = "REGROW_PROGRESS", help_heading = GLOBAL
    )]
    progress: progress::Mode,
    /// Show no progress, whatever --progress says
    #[arg(long, global = true, help_heading = GLOBAL)]
    no_progress: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key pair for encryption: an age identity file, whose recipient is printed; or one for signing
    #[command(after_help = keygen::HELP)]
    Keygen(keygen::Arguments),
    /// Create the repository and its signing key, and say what must be kept safe
    #[command(after_help = init::HELP)]
    Init,
    /// Show the keys whose signatures count, or let another one count: a second backup host's
    #[command(after_help = keys::HELP)]
    Keys(keys::Arguments),
    /// Take a backup now and print its id
    #[command(after_help = backup::HELP)]
    Backup(backup::Arguments),
    /// Make a backup of what mongodump wrote
    #[command(after_help = import::HELP)]
    Import(import::Arguments),
    /// Capture the oplog continuously, so that every second can be restored
    #[command(after_help = capture::HELP)]
    Capture(capture::Arguments),
    /// List the backups, newest first, and the recovery window
    List,
    /// Show one backup, and with an identity the collections that it holds
    Show(show::Arguments),
    /// Restore a backup, or some of its collections
    #[command(after_help = restore::HELP)]
    Restore(Box<restore::Arguments>),
    /// Compare a backup with the live database: what was added, removed or changed since
    #[command(after_help = diff::HELP)]
    Diff(diff::Arguments),
    /// Read documents out of a backup, without a server
    #[command(after_help = export::HELP)]
    Export(export::Arguments),
    /// Search the captured oplog: when exactly did it happen
    #[command(after_help = oplog::HELP)]
    Oplog(oplog::Arguments),
    /// Re-read what is stored and name every damaged or missing object
    #[command(after_help = verify::HELP)]
    Verify(verify::Arguments),
    /// Restore into scratch databases, check, time, clean up, and record the proof
    #[command(after_help = drill::HELP)]
    Drill(drill::Arguments),
    /// Say how things stand: what could be lost, how the jobs fare, what is wrong
    #[command(after_help = status::HELP)]
    Status(status::Arguments),
    /// Write the compliance report: whether the objectives were met over a period
    #[command(after_help = report::HELP)]
    Report(report::Arguments),
    /// List, show and export what is recorded, for auditors
    #[command(after_help = evidence::HELP)]
    Evidence(evidence::Arguments),
    /// Find out what is wrong, by doing, and say how to mend it
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::Arguments),
    /// Run the service: capture, scheduled jobs, alerts and metrics
    #[command(after_help = daemon::HELP)]
    Daemon(daemon::Arguments),
    /// Apply retention: let old backups and old oplog go
    #[command(after_help = expire::HELP)]
    Expire(expire::Arguments),
    /// Keep a backup whatever retention says
    Hold(hold::Arguments),
    /// Bring a backup back that has expired, as long as its bytes are there
    Undelete(undelete::Arguments),
}

/// How many threads beside one for each core may compress, encrypt, hash and use files. The C library's allocator keeps
/// memory that was freed for each thread: with tokio's 512 a replay needs half as much again, and is no faster.
const MORE_BLOCKING_THREADS: usize = 2;

/// Ends the program quietly when whoever reads stdout has seen enough (`regrow status | head`): `println!` panics then.
fn end_with_the_reader() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        otherwise(panic);
    }));
}

/// Runs the program and returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    let (clock, random) = (Clock::system(), Random::system());
    let stores = Stores::new(clock.clone(), random);
    run_on(clock, stores, Targets::default(), std::env::args_os().collect())
}

/// Runs the program with these arguments (the first is its name), by this clock, on these stores and with backups' objects as
/// large as this, and returns its exit code.
#[must_use]
pub fn run_on(clock: Clock, stores: Stores, targets: Targets, arguments: Vec<OsString>) -> ExitCode {
    end_with_the_reader();
    let arguments = Arguments::parse_from(arguments);
    let is_service = matches!(arguments.command, Command::Daemon(_));
    start_logging(arguments.verbose + u8::from(is_service), arguments.quiet, is_service);
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + MORE_BLOCKING_THREADS;
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(threads).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return report(&Error::failed("cannot start").caused_by(error)),
    };
    let outcome = runtime.block_on(dispatch(arguments, clock, stores, targets));
    // Nothing that still runs may hold up the end: everything that counts has been waited for. Taking the runtime
    // apart would also make the driver's background tasks panic into a person's terminal.
    std::mem::forget(runtime);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

async fn dispatch(arguments: Arguments, clock: Clock, stores: Stores, targets: Targets) -> Result<()> {
    let session = Session {
        config: arguments.config,
        json: arguments.json,
        quiet: arguments.quiet,
        progress: if arguments.no_progress {
            progress::Mode::None
        } else {
            arguments.progress.settled(arguments.quiet)
        },
        clock,
        random: Random::system(),
        stores,
        targets,
    };
    match arguments.command {
        Command::Keygen(arguments) => keygen::run(&session, &arguments),
        Command::Init => init::run(&session).await,
        Command::Keys(arguments) => keys::run(&session, &arguments).await,
        Command::Backup(arguments) => Box::pin(backup::run(&session, arguments)).await,
        Command::Import(arguments) => Box::pin(import::run(&session, &arguments)).await,
        Command::Capture(arguments) => capture::run(&session, &arguments).await,
        Command::List => list::run(&session).await,
        Command::Show(arguments) => show::run(&session, &arguments).await,
        Command::Restore(arguments) => Box::pin(restore::run(&session, *arguments)).await,
        Command::Diff(arguments) => Box::pin(diff::run(&session, &arguments)).await,
        Command::Export(arguments) => Box::pin(export::run(&session, &arguments)).await,
        Command::Oplog(arguments) => oplog::run(&session, &arguments).await,
        Command::Verify(arguments) => verify::run(&session, &arguments).await,
        Command::Drill(arguments) => Box::pin(drill::run(&session, arguments)).await,
        Command::Status(arguments) => status::run(&session, &arguments).await,
        Command::Report(arguments) => report::run(&session, &arguments).await,
        Command::Evidence(arguments) => evidence::run(&session, &arguments).await,
        Command::Doctor(arguments) => doctor::run(&session, &arguments).await,
        Command::Daemon(arguments) => daemon::run(&session, &arguments).await,
        Command::Expire(arguments) => expire::run(&session, &arguments).await,
        Command::Hold(arguments) => hold::run(&session, &arguments).await,
        Command::Undelete(arguments) => undelete::run(&session, &arguments).await,
    }
}

fn start_logging(verbose: u8, quiet: bool, is_service: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "regrow=error",
        (false, 0) => "regrow=warn",
        (false, 1) => "regrow=info",
        (false, _) => "debug",
    };
    let filter = EnvFilter::try_from_env("REGROW_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(progress::Talk::default).with_ansi(colour);
    let log = log.with_target(false);
    // A person at a terminal knows what time it is; whoever reads a service's log does not.
    if is_service { log.init() } else { log.without_time().init() }
}

fn report(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    if let Some(hint) = error.hint() {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(error.kind().exit_code())
}

/// Completes when the person or the system asks to stop; a second request ends the process at once.
async fn stop_requested() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    progress::beside(|| eprintln!("stopping cleanly; once more stops at once"));
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(i32::from(Kind::Interrupted.exit_code()));
    });
}

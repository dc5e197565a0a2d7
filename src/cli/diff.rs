//! `regrow diff`: what has become of the live database since a backup.

mod printer;

use super::output::{counted, is_broken_pipe, moment, time};
use super::{Session, progress, stop_requested};
use crate::diff::{self, DiffContext, DiffPlan, DiffRequest};
use crate::error::{Error, Kind, Result};
use crate::format::manifest::{Consistency, Manifest};
use crate::mongo::{Deployment, MemberChoice};
use crate::pattern::{NamespaceMap, NamespacePattern};
use crate::progress::Progress;

use printer::{Printer, Totals};

pub(super) const HELP: &str = "\
Reads and changes nothing. Needs an identity, and where TMPDIR points 40 bytes for each document of either side. Added is
what is only live, removed what is only in the backup. Documents are told apart by their _id and compared byte for byte;
their order is not. A time series is compared by its buckets. The live database is read as of one moment, a collection
that it cannot show as of then as of a later one; what cannot be compared, such as a backup whose documents need its own
oplog first, is refused.

The exit code is 0 whether or not anything differs; with --check it is 6 when anything does.

Examples:
  regrow diff latest                                  how many documents were added, removed and changed since
  regrow diff latest --ns shop.orders --documents     which ones: + added, - removed, ~ changed
  regrow diff 20261123 --ns shop --map shop=restored  a restored copy against its backup
  regrow diff latest --check --quiet                  for scripts";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup's id, a unique beginning of it, or latest
    backup: String,
    /// Compare only these namespaces, by their names in the backup: db, db.collection, db.* (may be repeated)
    #[arg(long = "ns", value_name = "PATTERN")]
    patterns: Vec<String>,
    /// The live deployment, as env:NAME or as a URI, whose password shows in the list of processes
    /// [default: the source]
    #[arg(long, value_name = "URI")]
    to: Option<String>,
    /// Compare with another name: db=other or db.collection=other.collection (may be repeated)
    #[arg(long = "map", value_name = "FROM=TO")]
    maps: Vec<String>,
    /// List the _id of each document that differs, as extended JSON
    #[arg(long)]
    documents: bool,
    /// List no more documents than this of each namespace [default: all]
    #[arg(long, value_name = "N", requires = "documents", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// End with exit code 6 when anything differs
    #[arg(long)]
    check: bool,
}

pub(super) async fn run(session: &Session, arguments: &Arguments) -> Result<()> {
    let config = session.config()?;
    let request = request(arguments)?;
    let (uri, member) = match &arguments.to {
        Some(to) => (session.target(to)?, MemberChoice::Any),
        None => (config.source_uri()?, config.source_member()?),
    };
    let identities = config.identities()?;
    let repository = session.repository(&config).await?;
    let manifest = repository.manifest(&repository.resolve(&arguments.backup).await?).await?;
    let segments = repository.segments(&manifest, identities.clone()).await?;
    let catalog = repository.catalog(&manifest, identities.as_ref()).await?;
    let deployment = session.connect(&uri).await?.reading_from(member);
    let plan = DiffPlan::make(&deployment, manifest, catalog, &request).await?;
    say_what(session, &plan, &deployment);
    let context = DiffContext { deployment, segments, progress: Progress::default(), random: session.random.clone() };
    let mut printer = Printer::new(session.json, arguments.documents);
    let compared = compare(session, &plan, &context, &mut printer).await;
    match compared {
        Ok(()) => answer(session, &plan.manifest, printer.totals(), arguments.check),
        Err(error) if is_broken_pipe(&error) => seen_enough(&plan.manifest, error, &printer, arguments.check),
        Err(error) => Err(error),
    }
}

/// Whoever reads has seen enough: no failure, unless the exit code is to tell what is not known yet.
fn seen_enough(manifest: &Manifest, error: Error, printer: &Printer, check: bool) -> Result<()> {
    match (check, printer.has_found_any()) {
        (false, _) => Ok(()),
        (true, false) => Err(error),
        (true, true) => {
            Err(Error::new(Kind::ObjectiveMissed, format!("the live database differs from {}", manifest.id)))
        }
    }
}

fn request(arguments: &Arguments) -> Result<DiffRequest> {
    Ok(DiffRequest {
        patterns: arguments.patterns.iter().map(|text| text.parse()).collect::<Result<Vec<NamespacePattern>>>()?,
        maps: arguments.maps.iter().map(|text| text.parse()).collect::<Result<Vec<NamespaceMap>>>()?,
        listed: if arguments.documents { arguments.limit.unwrap_or(u64::MAX) } else { 0 },
    })
}

async fn compare(session: &Session, plan: &DiffPlan, context: &DiffContext, printer: &mut Printer) -> Result<()> {
    printer.begin(plan, &context.deployment)?;
    progress::show(session, "diff", &context.progress, async {
        tokio::select! {
            compared = diff::execute(plan, context, printer) => compared,
            () = stop_requested() => Err(Error::new(Kind::Interrupted, "the comparison was interrupted")),
        }
    })
    .await?;
    printer.end()
}

/// Says what is compared, and what that cannot show.
fn say_what(session: &Session, plan: &DiffPlan, deployment: &Deployment) {
    let manifest = &plan.manifest;
    let backup = manifest.cluster_time.map_or_else(|| "no single moment".to_owned(), moment);
    let live = plan.as_of.map_or_else(|| "no single moment".to_owned(), moment);
    session.say(format_args!("Compare {}, the state at {backup},", manifest.id));
    session.say(format_args!("   with {} at {}, the state at {live}.", deployment.name(), deployment.addresses()));
    if manifest.consistency == Consistency::None {
        session.say("note: the backup is of a standalone server; its collections show different moments");
    }
    let capped = plan.pairs.iter().filter(|pair| pair.is_read_later()).count() as u64;
    if capped > 0 && manifest.outside_snapshot > 0 {
        let number = counted(capped, "capped collection");
        session.say(format_args!("note: {number} of the backup may show a moment shortly after that"));
    }
    if !plan.kept.is_empty() {
        let kept = plan.kept.join(", ");
        session.say(format_args!(
            "note: restores have kept {kept}: not compared ('regrow restore --unfinished' names the restores)"
        ));
    }
    if manifest.partial {
        session.say("note: the backup is of chosen namespaces; what else is live is looked at only where --ns asks");
    }
}

/// Says how it ended.
fn answer(session: &Session, manifest: &Manifest, totals: &Totals, check: bool) -> Result<()> {
    for (namespace, at) in &totals.later {
        session.say(format_args!("note: {namespace} could be read only as of {}", time(at.wall())));
    }
    let namespaces = counted(totals.namespaces, "namespace");
    if totals.different == 0 {
        session.say(format_args!("Nothing differs in {namespaces}."));
        return Ok(());
    }
    let counts = &totals.counts;
    let documents = format!("{} added, {} removed, {} changed", counts.added, counts.removed, counts.changed);
    let verb = if totals.different == 1 { "differs" } else { "differ" };
    let summary = format!("{} of {namespaces} {verb} from {}; documents: {documents}", totals.different, manifest.id);
    if check {
        return Err(Error::new(Kind::ObjectiveMissed, summary)
            .with_hint(format!("'regrow diff {} --documents' lists the documents", manifest.id)));
    }
    session.say(format_args!("{summary}."));
    Ok(())
}

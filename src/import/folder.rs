//! A dump as a folder: `<db>/<collection>.bson` and `<db>/<collection>.metadata.json`, compressed or not.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::input::read_whole;
use super::listing::Listing;
use crate::error::{Error, Kind, Result};
use crate::format::mongodump::archive::Place;
use crate::format::mongodump::metadata::Metadata;
use crate::format::mongodump::{DATA, GZIP, METADATA, OPLOG, OPLOG_COLLECTION, PRELUDE, damaged, names};
use crate::namespace::{BUCKETS_PREFIX, buckets_of};

/// The files with documents, each with the namespace that they belong to.
pub(super) type Files = Vec<(Place, PathBuf)>;

/// The files of one database, by the name that they begin with.
#[derive(Default)]
struct Database {
    data: BTreeMap<String, PathBuf>,
    metadata: BTreeMap<String, PathBuf>,
}

/// Finds out what a folder holds.
///
/// # Errors
/// [`Kind::Damaged`] when files are missing or not what they should be; [`Kind::Usage`] when it is the folder of one
/// database, and not that of a dump.
pub(super) fn list(folder: &Path) -> Result<(Listing, Files)> {
    let (mut listing, mut files) = (Listing::default(), Files::new());
    for (name, path) in entries(folder)? {
        if path.is_dir() {
            database(&name, &path, &mut listing, &mut files)?;
            continue;
        }
        match name.strip_suffix(GZIP).unwrap_or(&name) {
            OPLOG => {
                listing.add("", OPLOG_COLLECTION, None)?;
                files.push(((String::new(), OPLOG_COLLECTION.into()), path));
            }
            PRELUDE => prelude(&path, &mut listing)?,
            file if file.ends_with(DATA) => {
                return Err(Error::new(Kind::Usage, format!("{} is the folder of a database", folder.display()))
                    .with_hint("name the folder above it, which mongodump wrote"));
            }
            _ => listing.passed_over.push(path.display().to_string()),
        }
    }
    Ok((listing, files))
}

fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let failed = |error| Error::failed(format!("cannot read {}", folder.display())).caused_by(error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        entries.push((name.ok_or_else(|| damaged(path.display(), "has a name that is not UTF-8"))?, path));
    }
    entries.sort();
    Ok(entries)
}

fn database(db: &str, folder: &Path, listing: &mut Listing, files: &mut Files) -> Result<()> {
    let mut database = Database::default();
    for (name, path) in entries(folder)? {
        let file = name.strip_suffix(GZIP).unwrap_or(&name);
        if let Some(stem) = file.strip_suffix(METADATA) {
            database.metadata.insert(stem.to_owned(), path);
        } else if let Some(stem) = file.strip_suffix(DATA) {
            database.data.insert(stem.to_owned(), path);
        } else if file == PRELUDE {
            prelude(&path, listing)?; // A dump of one database has it there.
        } else {
            listing.passed_over.push(path.display().to_string());
        }
    }
    for (stem, path) in std::mem::take(&mut database.metadata) {
        described(db, (&stem, &path), &mut database, listing, files)?;
    }
    for (stem, path) in database.data {
        let name = collection(&stem, &path, None)?;
        if name.starts_with(BUCKETS_PREFIX) {
            return Err(damaged(path.display(), "holds a time series whose metadata is missing"));
        }
        listing.allowance.take(name.len())?;
        listing.add(db, &name, None)?;
        files.push(((db.into(), name), path));
    }
    Ok(())
}

/// Adds a collection that has metadata, and takes the file with its documents.
fn described(
    db: &str,
    (stem, path): (&str, &Path),
    database: &mut Database,
    listing: &mut Listing,
    files: &mut Files,
) -> Result<()> {
    let json = read_whole(path)?;
    listing.allowance.take(json.len())?;
    let metadata = Metadata::parse(&path.display().to_string(), &json)?;
    let name = collection(stem, path, metadata.collection.as_deref())?;
    listing.add(db, &name, Some(metadata))?;
    let buckets = buckets_of(&name);
    // A time series lies under the name of its buckets, whose file's name may be cut on its own account.
    let place = [(name.clone(), stem.to_owned()), (buckets.clone(), names::escaped(&buckets))];
    for (data_name, stem) in place {
        if let Some(path) = database.data.remove(&stem) {
            files.push(((db.into(), data_name), path));
            return Ok(());
        }
    }
    let is_view = listing.records.last().is_some_and(|record| {
        (record.db.as_str(), record.name.as_str()) == (db, name.as_str())
            && record.kind == crate::format::catalog::CollectionKind::View
    });
    if is_view { Ok(()) } else { Err(damaged(path.display(), "describes a collection whose documents are missing")) }
}

/// Returns the name of the collection that a file belongs to.
fn collection(stem: &str, path: &Path, described: Option<&str>) -> Result<String> {
    match described {
        Some(name) => Ok(name.to_owned()),
        None if names::is_cut(stem) => {
            Err(damaged(path.display(), "has a name that was cut, and no metadata tells it"))
        }
        None => names::unescaped(stem).ok_or_else(|| damaged(path.display(), "has a name that is not escaped")),
    }
}

fn prelude(path: &Path, listing: &mut Listing) -> Result<()> {
    let found: serde_json::Value = serde_json::from_slice(&read_whole(path)?)
        .map_err(|error| damaged(path.display(), "is no JSON").caused_by(error))?;
    let text = |name: &str| found[name].as_str().map(str::to_owned);
    listing.versions.server = text("ServerVersion");
    listing.versions.tool = text("ToolVersion");
    Ok(())
}

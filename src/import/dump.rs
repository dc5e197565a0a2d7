//! A dump that is read: what it holds, and then its documents, from front to back.

use std::fs;
use std::path::Path;

use super::fill::{Filler, Read};
use super::folder::{self, Files};
use super::input::{self, Piece, Pieces};
use super::listing::{Listing, Target};
use crate::error::{Error, Kind, Result};
use crate::format::mongodump::allowance::Allowance;
use crate::format::mongodump::archive::{Blocks, Prelude, PreludeNamespace};
use crate::format::mongodump::damaged;
use crate::format::mongodump::metadata::Metadata;

/// A dump whose beginning was read.
pub struct Dump {
    pub(super) listing: Listing,
    data: Data,
    bytes: u64,
}

enum Data {
    Folder(Files),
    /// Behind its prelude.
    Archive(Pieces),
}

impl Dump {
    /// Finds out what there is and what it holds; `-` stands for the standard input.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is nothing; [`Kind::Usage`] when it is no dump; [`Kind::Damaged`] when it is not whole.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let dump = if path == Path::new("-") {
            let stream = input::decompressed("stdin", std::io::stdin())?;
            Self::archive(Pieces::new("stdin".into(), stream), 0)?
        } else if path.is_dir() {
            let (listing, files) = folder::list(path)?;
            let bytes = files.iter().filter_map(|(_, path)| fs::metadata(path).ok()).map(|file| file.len()).sum();
            Self { listing, data: Data::Folder(files), bytes }
        } else {
            let bytes = fs::metadata(path).map_or(0, |file| file.len());
            let stream = input::open(path)?;
            Self::archive(Pieces::new(name.clone(), stream), bytes)?
        };
        if dump.listing.records.is_empty() {
            return Err(Error::not_found(format!("{name} holds no collection"))
                .with_hint("name the folder or the archive that mongodump wrote"));
        }
        Ok(dump)
    }

    fn archive(mut pieces: Pieces, bytes: u64) -> Result<Self> {
        if !pieces.begin_archive()? {
            return Err(Error::new(Kind::Usage, "this is no archive of mongodump".to_owned())
                .with_hint("name the folder or the archive that mongodump wrote"));
        }
        let mut listing = Listing::default();
        let Prelude { server_version, tool_version, mut namespaces } =
            read_prelude(&mut pieces, &mut listing.allowance)?;
        namespaces.sort_by(|a, b| (&a.db, &a.collection).cmp(&(&b.db, &b.collection)));
        (listing.versions.server, listing.versions.tool) = (Some(server_version), Some(tool_version));
        for PreludeNamespace { db, collection, metadata, kind } in namespaces {
            let described = if metadata.is_empty() {
                None
            } else {
                let place = format!("the archive's prelude about {db}.{collection}");
                let metadata = Metadata::parse(&place, metadata.as_bytes())?;
                Some(Metadata { kind: metadata.kind.or(Some(kind).filter(|kind| !kind.is_empty())), ..metadata })
            };
            listing.add(&db, &collection, described)?;
        }
        Ok(Self { listing, data: Data::Archive(pieces), bytes })
    }

    /// Returns about how many bytes will be read; none where nobody knows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns what is not taken: namespaces of the server's own, and files that belong to no dump.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        &self.listing.passed_over
    }

    /// Returns collections of which it does not say options and indexes.
    #[must_use]
    pub fn bare(&self) -> &[String] {
        &self.listing.bare
    }

    /// Reads everything. May block.
    pub(super) fn read(self, mut filler: Filler) -> Result<Read> {
        let Self { listing, data, .. } = self;
        match data {
            Data::Folder(files) => {
                for (place, path) in files {
                    let target = listing.targets.get(&place).copied().unwrap_or(Target::Nowhere);
                    read_file(&path, target, &mut filler)?;
                }
            }
            Data::Archive(pieces) => read_blocks(pieces, &listing, &mut filler)?,
        }
        filler.finish()
    }
}

fn read_file(path: &Path, target: Target, filler: &mut Filler) -> Result<()> {
    let mut pieces = Pieces::new(path.display().to_string(), input::open(path)?);
    loop {
        let place = pieces.place();
        match pieces.next()? {
            Piece::Document(document) => filler.take(target, document).map_err(|error| error.context(place))?,
            Piece::Terminator => return Err(damaged(place, "holds no document")),
            Piece::End => return filler.end(target),
        }
    }
}

fn read_prelude(pieces: &mut Pieces, allowance: &mut Allowance) -> Result<Prelude> {
    let header = match pieces.next()? {
        Piece::Document(header) => Prelude::begin(header)?,
        _ => return Err(damaged("the archive", "has no prelude")),
    };
    let mut prelude = header;
    loop {
        match pieces.next()? {
            Piece::Document(entry) => {
                allowance.take(entry.as_bytes().len())?;
                prelude.add(entry)?;
            }
            Piece::Terminator => return Ok(prelude),
            Piece::End => return Err(damaged("the archive", "is cut off in its prelude")),
        }
    }
}

fn read_blocks(mut pieces: Pieces, listing: &Listing, filler: &mut Filler) -> Result<()> {
    let mut blocks = Blocks::default();
    loop {
        let place = pieces.place();
        let taken = match pieces.next()? {
            Piece::Document(document) => blocks.document(document).and_then(|namespace| {
                let Some(namespace) = namespace else { return Ok(()) };
                let unknown = || {
                    damaged(
                        "the archive",
                        format!("holds {}.{}, which its prelude does not name", namespace.0, namespace.1),
                    )
                };
                filler.take(*listing.targets.get(namespace).ok_or_else(unknown)?, document)
            }),
            Piece::Terminator => blocks.terminator(),
            Piece::End => break,
        };
        taken.map_err(|error| error.context(place))?;
    }
    let ended = blocks.finish()?;
    let missing = |record: &&crate::format::catalog::CollectionRecord| {
        let place = (record.db.clone(), record.name.clone());
        matches!(listing.targets.get(&place), Some(Target::Collection(_))) && !ended.contains(&place)
    };
    match listing.records.iter().find(missing) {
        Some(record) => Err(damaged("the archive", format!("is cut off before {} ends", record.namespace()))),
        None => Ok(()),
    }
}

//! `[drill]`: where drills restore to, and what they ask.

use std::path::PathBuf;

use bson::{Bson, Document, doc};
use serde::Deserialize;

use crate::drill::{CheckQuery, Expectation, TargetSettings};
use crate::error::{Error, Result};
use crate::secret::{Secret, SecretReference};
use crate::units::Span;

/// The names of checks that every drill makes.
const OWN_CHECKS: [&str; 6] = ["namespaces", "options", "indexes", "documents", "source", "validate"];

/// The stages that write.
const WRITING: [&str; 2] = ["$out", "$merge"];

/// `[drill]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// The server whose scratch databases drills restore into: `env:NAME`, `file:/path`, or the URI itself.
    target: Option<SecretReference>,
    /// The mongod that each drill starts for itself: a path, or a name on `PATH`.
    mongod: Option<String>,
    /// The folder in which that server's data lies.
    folder: Option<String>,
    /// Whether the target may be the source.
    #[serde(default)]
    allow_source: bool,
    /// What the team itself knows about its data.
    #[serde(default)]
    checks: Vec<Check>,
}

/// `[[drill.checks]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    name: String,
    namespace: String,
    filter: Option<String>,
    pipeline: Option<String>,
    expect: Expect,
}

/// `expect = { … }`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    min: Option<u64>,
    max: Option<u64>,
    exactly: Option<u64>,
    newest: Option<String>,
    within: Option<Span>,
}

/// What drills go by.
#[derive(Debug, Clone)]
pub struct DrillSettings {
    /// Where they restore to.
    pub target: TargetSettings,
    /// What they ask.
    pub queries: Vec<CheckQuery>,
}

impl Drill {
    /// Makes sense of it. Relative folders lie beside the configuration, as `beside` tells.
    pub(super) fn resolve(&self, beside: impl Fn(&str) -> PathBuf) -> Result<DrillSettings> {
        let target = match (&self.target, &self.mongod) {
            (Some(uri), None) => {
                if self.folder.is_some() {
                    return Err(Error::configuration("drill.folder is given, and drills start no server of their own")
                        .with_hint("remove it, or set drill.mongod in place of drill.target"));
                }
                TargetSettings::Server { uri: Secret::resolve("drill.target", uri)?, allow_source: self.allow_source }
            }
            (None, Some(mongod)) => {
                if self.allow_source {
                    return Err(Error::configuration(
                        "drill.allow_source is given, and drills start a server of their own",
                    )
                    .with_hint("remove it: such a server never is the source"));
                }
                let folder = self.folder.as_deref().map_or_else(std::env::temp_dir, beside);
                TargetSettings::Throwaway { mongod: mongod.into(), folder }
            }
            (Some(_), Some(_)) => {
                return Err(Error::configuration("[drill] names a target and a mongod, and drills use one of both")
                    .with_hint("remove target to let drills start their own server, or mongod to use another one"));
            }
            (None, None) => return Err(no_target("[drill] names neither a target nor a mongod")),
        };
        let queries = self.checks.iter().map(Check::resolve).collect::<Result<Vec<CheckQuery>>>()?;
        for (number, query) in queries.iter().enumerate() {
            let is_taken = queries[..number].iter().any(|other| other.name == query.name);
            if is_taken || OWN_CHECKS.contains(&query.name.as_str()) {
                return Err(Error::configuration(format!("two checks of drills are called '{}'", query.name))
                    .with_hint("give each of [[drill.checks]] a name of its own"));
            }
        }
        Ok(DrillSettings { target, queries })
    }
}

/// Makes the error for a configuration that says nothing of where drills restore to.
pub(super) fn no_target(what: &str) -> Error {
    Error::configuration(what).with_hint(
        "add mongod = \"mongod\" to [drill] to let drills start a server of their own, or target = \"env:DRILL_URI\" for another one",
    )
}

impl Check {
    fn resolve(&self) -> Result<CheckQuery> {
        let wrong = |what: &str, remedy: &str| {
            Err(Error::configuration(format!("drill.checks '{}': {what}", self.name)).with_hint(remedy))
        };
        let Some((db, collection)) =
            self.namespace.split_once('.').filter(|(db, name)| !db.is_empty() && !name.is_empty())
        else {
            return wrong("its namespace is none", "write db.collection, such as shop.orders");
        };
        let pipeline = match (&self.filter, &self.pipeline) {
            (Some(_), Some(_)) => return wrong("it has a filter and a pipeline", "write one of both"),
            (Some(filter), None) => match parse(filter) {
                Ok(Bson::Document(filter)) => vec![doc! { "$match": filter }],
                Ok(_) => {
                    return wrong("its filter is no JSON object", "write it as in filter = '{\"status\": \"paid\"}'");
                }
                Err(error) => return wrong(&format!("its filter is no JSON: {error}"), "check quotes and braces"),
            },
            (None, Some(pipeline)) => match parse(pipeline).map(stages) {
                Ok(Some(stages)) => stages,
                Ok(None) => {
                    return wrong(
                        "its pipeline is no list of stages",
                        "write it as in pipeline = '[{\"$match\": {}}]'",
                    );
                }
                Err(error) => {
                    return wrong(&format!("its pipeline is no JSON: {error}"), "check quotes, braces and brackets");
                }
            },
            (None, None) => Vec::new(),
        };
        if let Some(stage) = WRITING.into_iter().find(|stage| pipeline.iter().any(|found| found.contains_key(stage))) {
            return wrong(&format!("its pipeline writes ({stage})"), "a check only reads: leave that stage out");
        }
        let expect = &self.expect;
        let expectation = match (expect.exactly, (expect.min, expect.max), (&expect.newest, expect.within)) {
            (Some(number), (None, None), (None, None)) => Expectation::Count { min: number, max: Some(number) },
            (None, (min, max), (None, None)) if min.is_some() || max.is_some() => {
                if min.zip(max).is_some_and(|(min, max)| min > max) {
                    return wrong("it expects more at least than at most", "exchange min and max");
                }
                Expectation::Count { min: min.unwrap_or(0), max }
            }
            (None, (None, None), (Some(field), Some(within))) => {
                Expectation::Newest { field: field.clone(), within: within.0 }
            }
            _ => {
                return wrong(
                    "what it expects is not clear",
                    "write expect = { min = 1 }, { max = 0 }, { exactly = 5 } or { newest = \"created_at\", within = \"1h\" }",
                );
            }
        };
        let (name, db, collection) = (self.name.clone(), db.to_owned(), collection.to_owned());
        Ok(CheckQuery { name, db, collection, pipeline, expectation })
    }
}

/// Reads extended JSON.
fn parse(text: &str) -> std::result::Result<Bson, String> {
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Bson::try_from(json).map_err(|error| error.to_string())
}

fn stages(json: Bson) -> Option<Vec<Document>> {
    let Bson::Array(stages) = json else { return None };
    let stage = |stage| if let Bson::Document(stage) = stage { Some(stage) } else { None };
    stages.into_iter().map(stage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<DrillSettings> {
        toml::from_str::<Drill>(text).unwrap().resolve(|folder| folder.into())
    }

    fn check(rest: &str) -> Result<CheckQuery> {
        let text = format!("mongod = \"mongod\"\n[[checks]]\nname = \"a\"\nnamespace = \"shop.orders\"\n{rest}\n");
        resolve(&text).map(|mut settings| settings.queries.remove(0))
    }

    #[test]
    fn drills_need_one_place_to_restore_to() {
        assert!(matches!(resolve("mongod = \"m\"").unwrap().target, TargetSettings::Throwaway { .. }));
        let server = resolve("target = \"mongodb://h\"\nallow_source = true").unwrap().target;
        assert!(matches!(server, TargetSettings::Server { allow_source: true, .. }));
        for text in [
            "",
            "target = \"mongodb://h\"\nmongod = \"m\"",
            "target = \"mongodb://h\"\nfolder = \"f\"",
            "mongod = \"m\"\nallow_source = true",
        ] {
            assert!(resolve(text).unwrap_err().hint().is_some(), "{text}");
        }
    }

    #[test]
    fn checks_ask_for_numbers_or_for_the_newest_document() {
        let paid = check("filter = '{\"status\": \"paid\"}'\nexpect = { min = 5 }").unwrap();
        assert_eq!(paid.pipeline, [doc! { "$match": { "status": "paid" } }]);
        assert_eq!(paid.expectation, Expectation::Count { min: 5, max: None });
        let newest = check("expect = { newest = \"at\", within = \"1h\" }").unwrap();
        let within = std::time::Duration::from_hours(1);
        assert_eq!(newest.expectation, Expectation::Newest { field: "at".into(), within });
        let dated =
            check("filter = '{\"at\": {\"$gt\": {\"$date\": \"2026-01-01T00:00:00Z\"}}}'\nexpect = { exactly = 0 }");
        assert!(matches!(
            dated.unwrap().pipeline[0].get_document("$match").unwrap().get_document("at").unwrap().get("$gt"),
            Some(Bson::DateTime(_))
        ));
    }

    #[test]
    fn a_check_that_makes_no_sense_is_refused_by_its_name() {
        for (rest, said) in [
            ("filter = '{'\nexpect = { min = 1 }", "no JSON"),
            ("filter = '[]'\nexpect = { min = 1 }", "no JSON object"),
            ("pipeline = '{}'\nexpect = { min = 1 }", "no list of stages"),
            ("pipeline = '[{\"$out\": \"x\"}]'\nexpect = { min = 1 }", "writes ($out)"),
            ("filter = '{}'\npipeline = '[]'\nexpect = { min = 1 }", "a filter and a pipeline"),
            ("expect = { }", "not clear"),
            ("expect = { min = 1, exactly = 1 }", "not clear"),
            ("expect = { newest = \"at\" }", "not clear"),
            ("expect = { min = 2, max = 1 }", "more at least"),
        ] {
            let error = check(rest).unwrap_err().to_string();
            assert!(error.contains("'a'") && error.contains(said), "{rest}: {error}");
        }
        let twice = "mongod = \"m\"\n[[checks]]\nname = \"indexes\"\nnamespace = \"a.b\"\nexpect = { min = 1 }\n";
        assert!(resolve(twice).unwrap_err().to_string().contains("indexes"));
    }
}

//! `[tiers]` and `[[workloads]]`: what was promised for which namespaces.

use super::Config;
use super::file::{Tier, Workload};
use crate::format::evidence::WorkloadRecord;
use crate::pattern::NamespacePattern;
use crate::status::Objectives;

impl Config {
    /// Returns the objectives of every workload.
    #[must_use]
    pub fn objectives(&self) -> Objectives {
        let record = |(workload, tier): (&Workload, &Tier)| WorkloadRecord {
            name: workload.name.clone(),
            tier: workload.tier.clone(),
            rpo_seconds: tier.rpo.0.as_secs(),
            rto_seconds: tier.rto.0.as_secs(),
        };
        Objectives {
            workloads: self.workloads().map(record).collect(),
            budget: self.file.repository.budget.map(|budget| budget.0),
        }
    }

    /// Returns the namespaces that a restore loads first: those of each workload, the shortest recovery time objective
    /// first.
    #[must_use]
    pub fn needed_first(&self) -> Vec<Vec<NamespacePattern>> {
        let mut workloads: Vec<_> = self.workloads().collect();
        workloads.sort_by_key(|(_, tier)| tier.rto.0);
        workloads.into_iter().map(|(workload, _)| workload.namespaces.clone()).collect()
    }

    fn workloads(&self) -> impl Iterator<Item = (&Workload, &Tier)> {
        self.file.workloads.iter().filter_map(|workload| Some((workload, self.file.tiers.get(&workload.tier)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::File;

    #[test]
    fn the_shortest_recovery_time_objective_comes_first() {
        let text = "[repository]\nurl = \"file:///r\"\n\
             [tiers.medium]\nrpo = \"24h\"\nrto = \"24h\"\n[tiers.critical]\nrpo = \"15m\"\nrto = \"1h\"\n\
             [[workloads]]\nname = \"archive\"\nnamespaces = [\"shop.*\"]\ntier = \"medium\"\n\
             [[workloads]]\nname = \"checkout\"\nnamespaces = [\"shop.orders\", \"shop.payments\"]\ntier = \"critical\"\n";
        let needed =
            Config { file: File::parse(text, "regrow.toml").unwrap(), path: "regrow.toml".into() }.needed_first();
        let names: Vec<Vec<String>> =
            needed.iter().map(|group| group.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(names, [vec!["shop.orders", "shop.payments"], vec!["shop.*"]]);
    }
}

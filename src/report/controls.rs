//! Which controls the report is evidence for, in our own words, and what it does not show.

/// A control of a standard.
pub(super) struct Control {
    /// The standard and its number.
    pub(super) name: &'static str,
    /// What it asks for.
    pub(super) asks: &'static str,
    /// Which parts of the report answer that.
    pub(super) evidence: &'static str,
    /// What the report does not show.
    pub(super) not_shown: &'static str,
}

/// All of them.
pub(super) const CONTROLS: [Control; 10] = [
    Control {
        name: "SOC 2 A1.2",
        asks: "Backup and recovery infrastructure is designed, run and monitored to meet the availability objectives.",
        evidence: "Objectives and results; scheduled runs; verification; exceptions",
        not_shown: "Capacity planning and the environment of the machines",
    },
    Control {
        name: "SOC 2 A1.3",
        asks: "Recovery is tested, so that objectives can be met.",
        evidence: "Drills, with what was checked and how long each phase took",
        not_shown: "Recovery of systems other than this database",
    },
    Control {
        name: "ISO/IEC 27001:2022 A.8.13",
        asks: "Backups are kept and regularly tested, as an agreed policy says.",
        evidence: "Retention against policy; inventory; verification; drills",
        not_shown: "Whether the policy itself is appropriate",
    },
    Control {
        name: "ISO/IEC 27001:2022 A.5.30",
        asks: "Readiness for continuity is planned, kept up and tested by objectives.",
        evidence: "Objectives and results; drills; trend of the restore time",
        not_shown: "Plans, people and places",
    },
    Control {
        name: "NIST SP 800-53 CP-4",
        asks: "The contingency plan is tested, and what the tests show is acted on.",
        evidence: "Drills; exceptions with what was done",
        not_shown: "Tests of the plan beyond restoring data",
    },
    Control {
        name: "NIST SP 800-53 CP-9",
        asks: "Data is backed up as often as the objectives need, protected, and its integrity tested.",
        evidence: "Exposure over time; scheduled runs; encryption; verification",
        not_shown: "Backups of other data and of documentation",
    },
    Control {
        name: "NIST SP 800-53 CP-10",
        asks: "The system can be recovered to a known state within the objectives.",
        evidence: "Restore time measured and predicted; drills; restores that were needed",
        not_shown: "Rebuilding the machines and networks themselves",
    },
    Control {
        name: "PCI DSS v4.0.1 9.4.1.1, 12.10.1",
        asks: "Copies of account data are kept securely; the response to incidents covers recovery and backup.",
        evidence: "Encryption; retention; drills; restores that were needed",
        not_shown: "Physical security of media, and the rest of the response plan",
    },
    Control {
        name: "HIPAA 164.308(a)(7)(ii)(A), (B), (D)",
        asks: "There are exact copies of the data, a way to restore them, and tests of it.",
        evidence: "Inventory; drills, in which every document is compared; exceptions",
        not_shown: "How to work while the system is away",
    },
    Control {
        name: "DORA (EU) 2022/2554, article 12",
        asks: "Backup and restore follow documented policies with recovery objectives, are tested, and keep data whole.",
        evidence: "Objectives and results; retention; verification; drills on separate systems",
        not_shown: "Decisions about which functions are critical",
    },
];

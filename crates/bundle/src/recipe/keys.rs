//! The keys of a `bundle.toml`: which there are, which have to be there, and what somebody meant who wrote another.

use toml::{Table, Value};

/// The keys of a table.
struct Keys {
    table: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
}

const STAGE: &[&str] = &["config", "assets", "limits", "on_break"];

const TOP: Keys = Keys {
    table: "",
    required: &["bundle", "input", "model", "golden"],
    optional: &[
        "lineage",
        "decoder",
        "preprocess",
        "postprocess",
        "monitor",
        "gates",
        "explain",
    ],
};

const TABLES: &[Keys] = &[
    Keys {
        table: "bundle",
        required: &["name", "version", "release_counter"],
        optional: &["floor", "hardware", "min_agent"],
    },
    Keys {
        table: "lineage",
        required: &[],
        optional: &["training_run", "data_digest", "commit", "author", "model_card"],
    },
    Keys {
        table: "decoder",
        required: &["name", "plugin"],
        optional: STAGE,
    },
    Keys {
        table: "input",
        required: &["name", "datatype", "shape"],
        optional: &["fields"],
    },
    Keys {
        table: "preprocess",
        required: &["name", "plugin"],
        optional: STAGE,
    },
    Keys {
        table: "model",
        required: &["file"],
        optional: &["allow_nan", "engines", "state"],
    },
    Keys {
        table: "postprocess",
        required: &["name", "plugin"],
        optional: STAGE,
    },
    Keys {
        table: "monitor",
        required: &["name", "plugin"],
        optional: STAGE,
    },
    Keys {
        table: "golden",
        required: &["file"],
        optional: &["tolerance", "tolerances"],
    },
    Keys {
        table: "explain",
        required: &["background"],
        optional: &[
            "rows",
            "method",
            "evaluations",
            "seed",
            "output",
            "element",
            "measure",
            "groups",
            "budget_ms",
            "when",
            "every",
            "per_minute",
            "top",
        ],
    },
    Keys {
        table: "gates",
        required: &[],
        optional: &[
            "samples",
            "max_error_rate",
            "latency_p99_ms",
            "timeout_s",
            "tries",
            "disagreement",
            "findings",
        ],
    },
];

/// A name this like another one was meant to be it.
const ALIKE: f64 = 0.75;

/// All keys that there shouldn't be, and all that are missing. What is inside of deeper tables, and of which type values
/// are, is found when they are read.
pub(super) fn check(recipe: &Table) -> Vec<String> {
    let mut problems = Vec::new();
    TOP.check("", recipe, &mut problems);
    for keys in TABLES {
        match recipe.get(keys.table) {
            Some(Value::Table(table)) => keys.check(&format!("{}.", keys.table), table, &mut problems),
            Some(Value::Array(array)) => {
                for (index, table) in array.iter().enumerate() {
                    if let Value::Table(table) = table {
                        keys.check(&format!("{}.{index}.", keys.table), table, &mut problems);
                    }
                }
            }
            _ => {}
        }
    }
    problems
}

impl Keys {
    fn check(&self, path: &str, table: &Table, problems: &mut Vec<String>) {
        for key in table.keys().filter(|key| !self.all().any(|known| known == *key)) {
            problems.push(format!("unknown key `{path}{key}`; {}", self.meant(key)));
        }
        for key in self.required.iter().filter(|key| !table.contains_key(**key)) {
            problems.push(format!("missing key `{path}{key}`"));
        }
    }

    fn all(&self) -> impl Iterator<Item = &'static str> {
        self.required.iter().chain(self.optional).copied()
    }

    fn meant(&self, key: &str) -> String {
        let alike = |known: &&str| strsim::jaro_winkler(known, key);
        let closest = self.all().max_by(|a, b| alike(a).total_cmp(&alike(b)));
        match closest.filter(|known| alike(known) >= ALIKE) {
            Some(known) => format!("did you mean `{known}`?"),
            None => {
                let known: Vec<String> = self.all().map(|known| format!("`{known}`")).collect();
                format!("known here are {}", known.join(", "))
            }
        }
    }
}

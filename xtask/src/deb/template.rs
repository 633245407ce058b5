//! The unit of further agents on one machine, made from that of the first: what differs is where its files lie.

use anyhow::{Result, ensure};

/// What stands in the unit, once each, and what stands in its template.
const DIFFERENCES: [(&str, &str); 6] = [
    (
        "# The agent under systemd.",
        "# One of several agents under systemd, floorhand-agent@NAME.",
    ),
    (
        "`systemctl edit floorhand-agent`",
        "`systemctl edit floorhand-agent@NAME`",
    ),
    ("Description=Floorhand agent\n", "Description=Floorhand agent %i\n"),
    (
        "floorhand-agent --config /etc/floorhand/agent.toml\n",
        "floorhand-agent --instance %i\n",
    ),
    ("StateDirectory=floorhand\n", "StateDirectory=floorhand-agents/%i\n"),
    ("RuntimeDirectory=floorhand\n", "RuntimeDirectory=floorhand-agents/%i\n"),
];

/// `floorhand-agent@.service`, of the text of `floorhand-agent.service`.
pub(super) fn of(unit: &str) -> Result<String> {
    DIFFERENCES.iter().try_fold(unit.to_owned(), |text, (first, further)| {
        ensure!(
            text.matches(first).count() == 1,
            "packaging/floorhand-agent.service doesn't have {first:?} once; xtask/src/deb/template.rs changes it"
        );
        Ok(text.replace(first, further))
    })
}

//! The first-party plugins that the tool carries, so that `builtin:standardize` works on a machine without the
//! WebAssembly target. They are the files of `plugins/prebuilt`, whose digests and recipe stand beside them.

macro_rules! prebuilt {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../plugins/prebuilt/", $name, ".wasm")).as_slice())),+]
    };
}

const PLUGINS: [(&str, &[u8]); 24] = prebuilt![
    "aggregate",
    "binary-frame",
    "calibration",
    "csv-row",
    "data-validation",
    "drift-adwin",
    "drift-chi2",
    "drift-ddm",
    "drift-hddm",
    "drift-js",
    "drift-ks",
    "drift-psi",
    "drift-wasserstein",
    "image-normalize",
    "json-paths",
    "output-drift",
    "page-hinkley",
    "softmax-label",
    "sparkplug-b",
    "spectral",
    "standardize",
    "threshold",
    "vibration-features",
    "window",
];

/// The component of a first-party plugin. The error names those there are.
pub fn plugin(name: &str) -> Result<&'static [u8], String> {
    let found = PLUGINS.iter().find(|(known, _)| *known == name);
    found.map(|(_, bytes)| *bytes).ok_or_else(|| {
        let names: Vec<_> = PLUGINS.iter().map(|(name, _)| *name).collect();
        format!(
            "builtin:{name}: there is no such first-party plugin; there are {}",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_is_a_component() {
        for (name, bytes) in PLUGINS {
            assert!(bytes.starts_with(b"\0asm\x0d\0\x01\0"), "{name}");
        }
        let error = plugin("standardise").unwrap_err();
        assert!(
            error.contains("builtin:standardise") && error.contains("standardize, threshold, vibration-features"),
            "{error}"
        );
    }
}

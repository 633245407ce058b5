//! Which columns are explained together, and what a group is called.

use super::columns::Columns;
use floorhand_bundle::{FeatureGroups, Layout, Patches};
use floorhand_explanation::{Groups, MAX_GROUPS};

/// Columns in groups, each with its name.
#[derive(Debug, Clone)]
pub(super) struct NamedGroups {
    pub(super) groups: Groups,
    pub(super) names: Vec<String>,
}

impl NamedGroups {
    /// As the bundle wants them.
    pub(super) fn new(wanted: &FeatureGroups, columns: &Columns) -> Result<Self, String> {
        let len = columns.len();
        let size = |size: &u64| usize::try_from(*size).unwrap_or(usize::MAX);
        let groups = match wanted {
            FeatureGroups::Single if len > MAX_GROUPS => {
                return Err(format!(
                    "the model has {len} features, and {MAX_GROUPS} groups can be told apart; say in explain.groups which \
                     features belong together, e.g. groups = {{ consecutive = {} }}",
                    len.div_ceil(MAX_GROUPS)
                ));
            }
            FeatureGroups::Single => Groups::single(len),
            FeatureGroups::Consecutive(width) => Groups::consecutive(len, size(width)),
            FeatureGroups::Interleaved(count) => Groups::interleaved(len, size(count)),
            FeatureGroups::Patches(patches) => return Self::of_patches(*patches, columns),
            FeatureGroups::Labels(labels) => return Self::of_labels(labels, columns),
        };
        let groups = groups.map_err(|error| format!("explain.groups: {error}"))?;
        let names = groups.columns().iter().map(|group| name(group, columns.names()));
        Ok(Self {
            names: names.collect(),
            groups,
        })
    }

    fn of_labels(labels: &[String], columns: &Columns) -> Result<Self, String> {
        if labels.len() != columns.len() {
            return Err(format!(
                "explain.groups names {} features, and the model has {}: {}",
                labels.len(),
                columns.len(),
                some(columns.names())
            ));
        }
        let mut names: Vec<String> = Vec::new();
        let mut places = Vec::with_capacity(labels.len());
        for label in labels {
            let place = names.iter().position(|name| name == label);
            places.push(place.unwrap_or_else(|| {
                names.push(label.clone());
                names.len() - 1
            }));
        }
        Self::of_places(&places, names)
    }

    fn of_patches(patches: Patches, columns: &Columns) -> Result<Self, String> {
        let shape = columns.only_shape().unwrap_or_default();
        let [1, rest @ ..] = shape else {
            return Err(no_picture(shape));
        };
        let (height, width, channels) = match (patches.layout, rest) {
            (Layout::Nchw, [channels, height, width]) | (Layout::Nhwc, [height, width, channels]) => {
                (*height, *width, *channels)
            }
            _ => return Err(no_picture(shape)),
        };
        let across = width.div_ceil(patches.width);
        let count = across.saturating_mul(height.div_ceil(patches.height));
        if count > MAX_GROUPS as u64 {
            return Err(format!(
                "explain.groups: patches of {} by {} make {count} groups of a picture of {height} by {width}, and \
                 {MAX_GROUPS} can be told apart; take larger ones",
                patches.height, patches.width
            ));
        }
        // A pixel's place in the tensor, and the patch that it is in.
        let pixel = |at: u64| match patches.layout {
            Layout::Nchw => at % (height * width).max(1),
            Layout::Nhwc => at / channels.max(1),
        };
        let patch = |pixel: u64| pixel / width / patches.height * across + pixel % width / patches.width;
        let places: Vec<usize> = (0..columns.len() as u64).map(|at| patch(pixel(at)) as usize).collect();
        let names = (0..count).map(|patch| {
            let (top, left) = (patch / across * patches.height, patch % across * patches.width);
            let (bottom, right) = ((top + patches.height).min(height), (left + patches.width).min(width));
            format!("lines {top}-{}, columns {left}-{}", bottom - 1, right - 1)
        });
        Self::of_places(&places, names.collect())
    }

    fn of_places(places: &[usize], names: Vec<String>) -> Result<Self, String> {
        let groups = Groups::from_labels(places).map_err(|error| format!("explain.groups: {error}"))?;
        Ok(Self { groups, names })
    }
}

fn no_picture(shape: &[u64]) -> String {
    format!(
        "explain.groups: patches are of one picture, a tensor of shape [1, channels, height, width] or [1, height, width, \
         channels], and the model takes {shape:?}"
    )
}

/// A group is called as the field that all its columns are of, where they are of several; else by its first and last column.
fn name(group: &[usize], names: &[String]) -> String {
    let named = |column: &usize| names.get(*column).map_or("", String::as_str);
    let (Some(first), Some(last)) = (group.first(), group.last()) else {
        return String::new();
    };
    if first == last {
        return named(first).to_owned();
    }
    let own = field(named(first));
    let of_own = |name: &str| field(name) == own;
    if group.iter().all(|column| of_own(named(column))) && !names.iter().all(|name| of_own(name)) {
        return own.to_owned();
    }
    format!("{} to {}", named(first), named(last))
}

/// `flow` of `flow[3]`.
fn field(name: &str) -> &str {
    name.split_once('[').map_or(name, |(field, _)| field)
}

/// The first of many names.
fn some(names: &[String]) -> String {
    let more = if names.len() > 8 { ", ..." } else { "" };
    format!("{}{more}", names.iter().take(8).cloned().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use floorhand_plugin_host::{Field, Given, Origin};
    use floorhand_tensor::{Datatype, Dim, TensorSpec};

    fn columns(shape: &[u64], fields: &[&str]) -> Columns {
        let shape = shape.iter().map(|&size| Dim::Fixed(size)).collect();
        let spec = TensorSpec::new("x", Datatype::Fp32, shape);
        let field = |name: &&str| Field {
            name: (*name).to_owned(),
            unit: String::new(),
        };
        let given = Given {
            origin: Origin::Features,
            spec: spec.clone(),
            fields: fields.iter().map(field).collect(),
        };
        Columns::new(&[spec], &[given], &[]).unwrap()
    }

    fn check(wanted: &FeatureGroups, columns: &Columns, names: &[&str], groups: &[&[usize]]) {
        let made = NamedGroups::new(wanted, columns).unwrap();
        assert_eq!(made.names, names);
        assert_eq!(made.groups.columns(), groups);
    }

    #[test]
    fn windows_are_called_by_their_sensors() {
        let window = columns(&[2, 2], &["flow", "power"]);
        check(
            &FeatureGroups::Interleaved(2),
            &window,
            &["flow", "power"],
            &[&[0, 2], &[1, 3]],
        );
        let names = ["flow[0] to power[0]", "flow[1] to power[1]"];
        check(&FeatureGroups::Consecutive(2), &window, &names, &[&[0, 1], &[2, 3]]);
        let labels = FeatureGroups::Labels(["b", "a", "b", "b"].map(str::to_owned).to_vec());
        check(&labels, &window, &["b", "a"], &[&[0, 2, 3], &[1]]);
        let plain = columns(&[1, 4], &[]);
        check(
            &FeatureGroups::Consecutive(2),
            &plain,
            &["x[0] to x[1]", "x[2] to x[3]"],
            &[&[0, 1], &[2, 3]],
        );
    }

    #[test]
    fn patches_hold_all_channels_of_their_pixels() {
        let patches = |layout| {
            FeatureGroups::Patches(Patches {
                height: 2,
                width: 1,
                layout,
            })
        };
        let names = [
            "lines 0-1, columns 0-0",
            "lines 0-1, columns 1-1",
            "lines 2-2, columns 0-0",
            "lines 2-2, columns 1-1",
        ];
        // Three lines of two pixels with two channels.
        let first = columns(&[1, 2, 3, 2], &[]);
        check(
            &patches(Layout::Nchw),
            &first,
            &names,
            &[&[0, 2, 6, 8], &[1, 3, 7, 9], &[4, 10], &[5, 11]],
        );
        let last = columns(&[1, 3, 2, 2], &[]);
        check(
            &patches(Layout::Nhwc),
            &last,
            &names,
            &[&[0, 1, 4, 5], &[2, 3, 6, 7], &[8, 9], &[10, 11]],
        );
    }

    #[test]
    fn what_makes_no_groups_is_refused_with_what_to_do() {
        let refused = |wanted: &FeatureGroups, shape: &[u64], part: &str| {
            let error = NamedGroups::new(wanted, &columns(shape, &[])).unwrap_err();
            assert!(error.contains(part), "{error}");
        };
        refused(&FeatureGroups::Single, &[1, 640], "groups = { consecutive = 3 }");
        refused(
            &FeatureGroups::Consecutive(3),
            &[1, 4],
            "4 features can't be shared out by 3",
        );
        refused(
            &FeatureGroups::Labels(vec!["a".to_owned()]),
            &[1, 2],
            "names 1 features, and the model has 2: x[0], x[1]",
        );
        let patches = |height| Patches {
            height,
            width: 1,
            layout: Layout::Nchw,
        };
        refused(
            &FeatureGroups::Patches(patches(1)),
            &[1, 4],
            "patches are of one picture",
        );
        refused(&FeatureGroups::Patches(patches(1)), &[1, 1, 32, 32], "make 1024 groups");
    }
}

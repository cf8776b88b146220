//! One image of several, by its name. Law: pure.
//!
//! Source: distribution/reference, `ParseNormalizedNamed` and `FamiliarString`.

use std::collections::BTreeSet;

use crate::image::error::ImageError;

/// What goes by names: by what people call it first, by what is its alone last.
pub(super) trait Named {
    fn names(&self) -> Vec<&str>;
}

/// Those that go by the name; all if none is wanted.
pub(super) fn called<T: Named>(images: Vec<T>, wanted: Option<&str>) -> Result<Vec<T>, ImageError> {
    let Some(wanted) = wanted else { return Ok(images) };
    let goes_by = |image: &T, means: &dyn Fn(&str) -> bool| image.names().into_iter().any(means);
    // To the letter before what means the same: an archive may have `app` beside `localhost/app`.
    let is_there = images.iter().any(|image| goes_by(image, &|name| name == wanted));
    let meant = Reference::of(wanted);
    let may_be = |name: &str| Reference::of(name).iter().any(|reference| meant.contains(reference));
    let means = |name: &str| if is_there { name == wanted } else { may_be(name) };
    let (called, others): (Vec<_>, Vec<_>) = images.into_iter().partition(|image| goes_by(image, &means));
    if called.is_empty() {
        let several = others.len() > 1;
        let names: BTreeSet<_> = others.iter().flat_map(|image| people_call(image, several)).collect();
        let names = names.into_iter().map(str::to_owned).collect();
        return Err(ImageError::NoSuchName { name: wanted.to_owned(), names });
    }
    Ok(called)
}

pub(super) fn only<T: Named>(mut images: Vec<T>) -> Result<T, ImageError> {
    match (images.pop(), images.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(ImageError::NoImages),
        (Some(last), false) => {
            images.push(last);
            Err(ImageError::ManyImages { names: shown(&images) })
        }
    }
}

/// All names but the last, which nobody would choose where there are others, or one image only.
fn people_call<T: Named>(image: &T, several: bool) -> Vec<&str> {
    let mut names = image.names();
    if names.len() > 1 || !several {
        names.pop();
    }
    names
}

/// A name of each, by which no other goes.
fn shown<T: Named>(images: &[T]) -> Vec<String> {
    let all: Vec<_> = images.iter().map(Named::names).collect();
    let firsts: BTreeSet<_> = all.iter().filter_map(|names| names.first()).collect();
    let distinct = firsts.len() == images.len();
    let name = |names: &Vec<&str>| if distinct { names.first() } else { names.last() }.map(ToString::to_string);
    all.iter().filter_map(name).collect()
}

/// The domain that docker means where none is written.
const DOCKER: &str = "docker.io";
/// Where podman and buildah put what they built, and look first.
const LOCAL: &str = "localhost";

/// A name, with what people leave out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reference<'n> {
    domain: &'n str,
    path: &'n str,
    /// With its colon, or a digest with its `@`.
    tag: &'n str,
}

impl<'n> Reference<'n> {
    /// What a name may mean: one image where it says a domain, else docker's or one of one's own.
    fn of(name: &'n str) -> [Self; 2] {
        let is_domain = |first: &str| first.contains(['.', ':']) || first == LOCAL;
        let (domain, rest) = match name.split_once('/') {
            Some((first, rest)) if is_domain(first) => (Some(first), rest),
            _ => (None, name),
        };
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let tag = rest[last..].find([':', '@']).map(|at| last + at);
        let (path, tag) = tag.map_or((rest, ":latest"), |at| rest.split_at(at));
        let in_domain = |domain| match domain {
            DOCKER | "index.docker.io" => {
                Self { domain: DOCKER, path: path.strip_prefix("library/").unwrap_or(path), tag }
            }
            domain => Self { domain, path, tag },
        };
        domain.map_or_else(|| [in_domain(DOCKER), in_domain(LOCAL)], |domain| [in_domain(domain); 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Image(&'static [&'static str]);

    impl Named for Image {
        fn names(&self) -> Vec<&str> {
            self.0.to_vec()
        }
    }

    fn found(wanted: &str) -> Result<&'static str, ImageError> {
        let images = vec![
            Image(&["docker.io/library/node:20", "node-lts:latest", "a.json"]),
            Image(&["localhost/app:latest", "app:1", "b.json"]),
            Image(&["registry.example:5000/app:latest", "c.json"]),
            Image(&["docker.io/team/tool:latest", "localhost/tool:latest", "d.json"]),
            Image(&["tool:latest", "e.json"]),
            Image(&["f.json"]),
        ];
        only(called(images, Some(wanted))?).map(|image| *image.0.last().unwrap())
    }

    #[test]
    fn a_name_is_known_in_each_of_its_forms() {
        for (wanted, image) in [
            ("node:20", "a.json"),
            ("docker.io/library/node:20", "a.json"),
            ("node-lts", "a.json"),
            ("docker.io/node-lts", "a.json"),
            ("app", "b.json"),
            ("localhost/app", "b.json"),
            ("app:1", "b.json"),
            ("registry.example:5000/app", "c.json"),
            ("team/tool", "d.json"),
            ("tool:latest", "e.json"),
            ("library/node:20", "a.json"),
            ("index.docker.io/library/node:20", "a.json"),
            ("f.json", "f.json"),
        ] {
            assert_eq!(found(wanted).unwrap(), image, "{wanted}");
        }
        assert!(matches!(found("tool"), Err(ImageError::ManyImages { names }) if names.len() == 2));
        for wanted in
            ["node", "docker.io/library/app", "other.example/app", "localhost/node:20", "app:2", "5000/app", "a", ""]
        {
            assert!(matches!(found(wanted), Err(ImageError::NoSuchName { .. })), "{wanted}");
        }
    }

    #[test]
    fn all_names_are_told_to_who_asks_for_another() {
        let ImageError::NoSuchName { names, .. } = found("x").unwrap_err() else { panic!() };
        assert_eq!(names.len(), 9);
        assert!(names.contains(&"app:1".to_owned()) && names.contains(&"f.json".to_owned()));
        assert!(!names.contains(&"a.json".to_owned()));
    }
}

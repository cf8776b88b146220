//! One image of several, by its name. Law: pure.
//!
//! Source: distribution/reference, `ParseNormalizedNamed` and `FamiliarString`; podman puts what it built under `localhost/`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::image::error::ImageError;

/// What goes by names: by what people call it first, by what is its alone last.
pub(super) trait Named {
    fn names(&self) -> Vec<&str>;
}

/// Those that go by the name; all if none is wanted.
pub(super) fn called<T: Named>(mut images: Vec<T>, wanted: Option<&str>) -> Result<Vec<T>, ImageError> {
    let Some(wanted) = wanted else { return Ok(images) };
    let several = images.len() > 1;
    let all = images.iter().flat_map(|image| people_call(image, several)).map(str::to_owned).collect();
    // To the letter before what means the same: an archive may have `app` beside `localhost/app`.
    if images.iter().any(|image| image.names().contains(&wanted)) {
        images.retain(|image| image.names().contains(&wanted));
    } else {
        let wanted = familiar(wanted);
        images.retain(|image| image.names().into_iter().any(|name| familiar(name) == wanted));
    }
    if images.is_empty() {
        return Err(ImageError::NoSuchName { name: wanted.to_owned(), names: all });
    }
    Ok(images)
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

/// A reference as people write it, with its tag: `node:latest` for `docker.io/library/node`.
fn familiar(name: &str) -> Cow<'_, str> {
    let short = match name.strip_prefix("docker.io/") {
        Some(rest) => rest.strip_prefix("library/").unwrap_or(rest),
        None => name.strip_prefix("localhost/").unwrap_or(name),
    };
    let is_tagged = short.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if is_tagged { short.into() } else { format!("{short}:latest").into() }
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
            ("f.json", "f.json"),
        ] {
            assert_eq!(found(wanted).unwrap(), image, "{wanted}");
        }
        assert!(matches!(found("tool"), Err(ImageError::ManyImages { names }) if names.len() == 2));
        for wanted in ["node", "library/node", "app:2", "5000/app", "a", ""] {
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

//! A provider of the user's own: `contrib/NAME/provider.json`, and a Dockerfile or an image beside it.

use std::collections::BTreeMap;
use std::io::Read as _;

use serde::Deserialize;

use super::{Parts, PromptMode, ProviderError, ProviderRuntime, route};
use crate::manifest::Variable;
use crate::manifest::egress::Route;
use crate::plan::regular;
use crate::plan::spec::Host;

const DESCRIPTION: &str = "provider.json";
const DESCRIPTION_MAX: u64 = 1 << 20;

/// What people write. Names and hosts are checked when they are used; a key that is unknown is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    command: String,
    #[serde(default)]
    image: Option<String>,
    #[serde(default = "no_prompt")]
    prompt_mode: PromptMode,
    #[serde(default)]
    bypass_args: Vec<String>,
    #[serde(default)]
    resume_args: Vec<String>,
    #[serde(default)]
    headless_args: Vec<String>,
    #[serde(default)]
    env_vars: BTreeMap<String, String>,
    #[serde(default)]
    egress_routes: Vec<DescribedRoute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DescribedRoute {
    host: String,
    /// The host's variable with the token for it.
    #[serde(default)]
    token_ref: Option<String>,
}

fn no_prompt() -> PromptMode {
    PromptMode::None
}

pub(super) fn read(name: &str, host: &Host) -> Result<(ProviderRuntime, Description), ProviderError> {
    let directory = host.own.join("contrib").join(name);
    let path = directory.join(DESCRIPTION);
    let mut text = String::new();
    regular::open(&path)
        .and_then(|file| file.take(DESCRIPTION_MAX).read_to_string(&mut text))
        .map_err(|source| ProviderError::Unreadable { name: name.to_owned(), path: path.clone(), source })?;
    let broken = |why: String| ProviderError::Description { path: path.clone(), why };
    let description: Description = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    description.check().map_err(broken)?;
    let dockerfile = Some(directory.join("Dockerfile")).filter(|path| path.is_file());
    if dockerfile.is_none() && description.image.is_none() {
        return Err(broken("it names no `image`, and there is no Dockerfile beside it".to_owned()));
    }
    // With a Dockerfile beside it, it is what the result is called; without, where it lies: beside the description, wherever that is used.
    let image = match (&dockerfile, &description.image) {
        (_, None) => format!("bot-bottle-{name}:latest"),
        (Some(_), Some(name)) => name.clone(),
        (None, Some(written)) => host.image(written, &directory).map_err(|error| broken(error.to_string()))?,
    };
    let runtime = ProviderRuntime {
        template: name.to_owned(),
        command: description.command.clone(),
        image,
        dockerfile,
        built_in_dockerfile: None,
        prompt_mode: description.prompt_mode.clone(),
        bypass_args: description.bypass_args.clone(),
        resume_args: description.resume_args.clone(),
        headless_args: description.headless_args.clone(),
        ends_options: false,
    };
    Ok((runtime, description))
}

impl Description {
    fn check(&self) -> Result<(), String> {
        if self.command.is_empty() {
            return Err("`command` is empty".to_owned());
        }
        if let PromptMode::File(path) = &self.prompt_mode {
            let inside = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !inside {
                return Err(format!("`{path}` is not a path in the guest's home"));
            }
        }
        for name in self.env_vars.keys() {
            Variable::new(name).map_err(|error| format!("in `env_vars`: {error}"))?;
        }
        for route in &self.egress_routes {
            crate::manifest::Host::new(&route.host).map_err(|error| format!("in `egress_routes`: {error}"))?;
            if let Some(name) = &route.token_ref {
                Variable::new(name).map_err(|error| format!("in `token_ref`: {error}"))?;
            }
        }
        Ok(())
    }

    pub(super) fn has_routes(&self) -> bool {
        !self.egress_routes.is_empty()
    }

    pub(super) fn routes(&self) -> Vec<Route> {
        let token = |name: &String| Variable::new(name).ok();
        let routes = self.egress_routes.iter();
        routes.filter_map(|it| route(&it.host, it.token_ref.as_ref().and_then(token))).collect()
    }

    pub(super) fn parts(self) -> Parts {
        let variable = |(name, value): (String, String)| Some((Variable::new(&name).ok()?, value));
        Parts {
            routes: self.routes(),
            env_vars: self.env_vars.into_iter().filter_map(variable).collect(),
            ..Parts::default()
        }
    }
}

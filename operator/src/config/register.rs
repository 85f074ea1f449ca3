//! The arguments of `register`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Parser};

use super::{long, name};
use crate::api::secret::SecretText;

/// What `register` is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// Where the token comes from.
    pub token: TokenSource,
    /// Base URL of the control plane.
    pub endpoint: String,
    /// Name of the Cluster object.
    pub cluster: String,
    /// Its id, if it is known already.
    pub cluster_id: Option<String>,
    /// Namespace of the operator.
    pub namespace: String,
}

/// Where the registration token comes from. A token among the arguments is seen by every process of the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    /// It was given, by argument or environment.
    Given(SecretText),
    /// The first line of standard input.
    Stdin,
    /// The first line of a file.
    File(PathBuf),
}

/// Registers this cluster with its control plane: writes the Secret with the token and the Cluster that names it, and waits
/// up to two minutes until the operator is connected.
///
/// The cluster is the one of KUBECONFIG, of ~/.kube/config, or the one this pod runs in, in this order.
#[derive(Parser)]
#[command(name = "vworkspace-app-operator register", max_term_width = 120)]
#[command(group(ArgGroup::new("source").required(true).args(["token", "token_file"])))]
struct Flags {
    /// The registration token; `-` reads it from standard input, so that it shows in no list of processes.
    #[arg(long, value_name = "TOKEN|-", env = "VWORKSPACE_REGISTRATION_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// File with the registration token.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Base URL of the control plane.
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    control_plane_endpoint: String,

    /// Name of the Cluster object.
    #[arg(long, value_name = "NAME", value_parser = name)]
    cluster_name: String,

    /// Id of the cluster, if the control plane has issued it already.
    #[arg(long, value_name = "ID")]
    cluster_id: Option<String>,

    /// Namespace of the operator.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "vworkspace-system", value_parser = name)]
    namespace: String,
}

impl Register {
    /// The name of the subcommand.
    pub const NAME: &str = "register";

    /// Reads the arguments after the subcommand's name, and the environment.
    ///
    /// # Errors
    /// Text for the user, and the exit code, as clap prints them; also for `--help`.
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let flags = Flags::try_parse_from(args.into_iter().map(long))?;
        let token = match (flags.token_file, flags.token) {
            (Some(file), _) => TokenSource::File(file),
            (None, Some(dash)) if dash == "-" => TokenSource::Stdin,
            (None, token) => TokenSource::Given(SecretText::new(token.unwrap_or_default().trim())),
        };
        Ok(Self {
            token,
            endpoint: flags.control_plane_endpoint,
            cluster: flags.cluster_name,
            cluster_id: flags.cluster_id.filter(|id| !id.is_empty()),
            namespace: flags.namespace,
        })
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.starts_with('/') => Ok(text.trim_end_matches('/').into()),
        _ => Err("expected a URL such as `https://odoo.example.org`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Register, clap::Error> {
        let rest = ["--control-plane-endpoint=https://odoo.example.org/", "--cluster-name=shop", "--namespace=ops"];
        let args = std::iter::once("register").chain(args.iter().copied()).chain(rest);
        Register::from_args(args.map(OsString::from))
    }

    #[test]
    fn the_token_comes_from_where_it_is_said_and_is_never_printed() {
        let read = |args: &[&str]| parse(args).expect("accepted");
        assert_eq!(read(&["--token=-"]).token, TokenSource::Stdin);
        assert_eq!(read(&["--token-file=/run/token"]).token, TokenSource::File("/run/token".into()));
        let given = read(&["--token", "vwksp-reg-1"]);
        assert_eq!(given.token, TokenSource::Given(SecretText::new("vwksp-reg-1")));
        assert!(!format!("{given:?}").contains("vwksp-reg-1"));
        assert_eq!((given.endpoint.as_str(), given.namespace.as_str()), ("https://odoo.example.org", "ops"));
    }

    #[test]
    fn refused_with_the_flag_and_what_is_accepted() {
        for (args, word) in [
            (&[][..], "--token"),
            (&["--token=x", "--token-file=y"], "--token-file"),
            (&["--token=x", "--cluster-id"], "--cluster-id"),
        ] {
            let text = parse(args).expect_err("refused").to_string();
            assert!(text.contains(word), "{args:?} should mention {word}: {text}");
        }
        for wrong in ["odoo.example.org", "https://", "ftp://x"] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}

//! `groups add` and `groups delete`: the data key stays, and is wrapped anew to all groups.

use super::Outcome;
use super::args::{GroupsAddArgs, GroupsDeleteArgs, GroupsFile, Target, Types};
use super::change::groups_of;
use super::failure::{Failure, code};
use super::keys::Run;
use super::{files, keys};
use crate::pure::keys::{KeyKind, KeyRef};
use crate::pure::sops;

/// `sops groups add`. Unlike there, a key that cannot be used is an error: a file with a share that nobody has would be
/// the result.
pub fn add(args: &GroupsAddArgs, run: &Run<'_>) -> Outcome {
    let mut group = Vec::new();
    for (kind, texts) in [
        (KeyKind::Pgp, &args.pgp),
        (KeyKind::Kms, &args.kms),
        (KeyKind::GcpKms, &args.gcp_kms),
        (KeyKind::Hckms, &args.hckms),
        (KeyKind::HcVault, &args.hc_vault_transit),
        (KeyKind::AzureKv, &args.azure_kv),
        (KeyKind::Age, &args.age),
    ] {
        for text in texts {
            group.extend(keys::list(kind, Some(text))?);
        }
    }
    for key in &mut group {
        if let KeyRef::Kms { context, profile, .. } = key {
            *context = keys::read_context(args.encryption_context.as_deref())?;
            profile.clone_from(&args.aws_profile.clone().unwrap_or_default());
        }
    }
    change(&args.target, run, |groups| {
        groups.push(group);
        Ok(())
    })
}

/// `sops groups delete`.
pub fn delete(args: &GroupsDeleteArgs, run: &Run<'_>) -> Outcome {
    change(&args.target, run, |groups| {
        if args.index >= groups.len() {
            let what = format!("there is no group {}: the file has {} of them, from 0", args.index, groups.len());
            return Err(Failure::new(code::GENERIC, what));
        }
        groups.remove(args.index);
        Ok(())
    })
}

fn change(
    target: &GroupsFile,
    run: &Run<'_>,
    edit: impl FnOnce(&mut Vec<Vec<KeyRef>>) -> Result<(), Failure>,
) -> Outcome {
    let no_file = || Failure::new(code::COULD_NOT_READ_INPUT, "no file is named; name it with --file");
    let file = target.file.as_ref().ok_or_else(no_file)?;
    files::layout(run.global)?;
    let input = files::read(file, &Types::default())?;
    let document = keys::parse(&input, files::format(None, &input.name))?;
    let mut groups = groups_of(&document);
    edit(&mut groups)?;
    run.complete(&mut groups)?;
    let given = target.shamir_secret_sharing_threshold.filter(|given| *given > 0);
    let threshold = given.unwrap_or(document.metadata().shamir_threshold);
    if groups.len() < threshold {
        let what = format!(
            "removing this key group will make the Shamir threshold impossible to satisfy: Shamir threshold is {threshold}, but we only have {} key groups",
            groups.len()
        );
        return Err(Failure::new(code::GENERIC, what));
    }
    let opened = run.open(&document, &input.name, false).map_err(|failure| match failure.code {
        // The real tool has no exit code for it here.
        code::COULD_NOT_RETRIEVE_KEY => {
            Failure::new(code::GENERIC, format!("Error getting data key: {}", failure.text))
        }
        _ => failure,
    })?;
    let mut random = files::random()?;
    let key = opened.data_key();
    let sealed = sops::rewrap(&document, key, &groups, threshold, &files::now(), &mut random, &mut run.wrap())
        .map_err(|error| Failure::of(&input.name, &error))?;
    files::write(&Target { in_place: target.in_place, output: None }, &input, &sealed)
}

//! A real datacenter: what is missing and what will be made is said before the first clone, a
//! second run goes on with what is there, and what remains is listed.

use capi_core::clock::Clock;
use capi_provider_proxmox::{
    client::Client as ProxmoxClient,
    provider::{inventory, remove},
};

use crate::{
    Parts,
    arguments::Arguments,
    controllers,
    datacenter::{Access, explained},
    directory::{Directory, Error},
    interrupted, listed,
    manifest::Manifest,
    nothing_missing,
    plan::{self, Plan},
    plane::Plane,
    state,
    view::View,
    with_controllers,
};

/// Everything in this process but the datacenter.
pub(crate) async fn run(
    arguments: &Arguments,
    manifest: &Manifest,
    directory: &Directory,
    access: Access,
) -> Result<(), Error> {
    // A simulated datacenter of another process has a time of its own, beside its routes.
    let routed = arguments
        .routes
        .as_deref()
        .and_then(std::path::Path::parent);
    let clock = match routed {
        Some(path) => Directory::open(Some(path))?.0.known_time()?,
        None => Clock::system(),
    };
    let url = arguments.proxmox_url.as_deref().unwrap_or_default();
    let (namespace, name) = manifest.cluster_key()?;
    let mut view = View::new(Clock::system(), arguments.json);
    let proxmox = access.client(clock.clone())?;
    let there = inventory(&proxmox, &namespace, &name)
        .await
        .map_err(|error| explained(url, &error))?;
    view.say(&format!("the datacenter is REAL: {url}"));
    if arguments.cleanup {
        return clean_up(
            arguments,
            directory,
            &proxmox,
            (&namespace, &name),
            &mut view,
        )
        .await;
    }
    let plane = match &arguments.kubeconfig {
        Some(path) => {
            let plane = Plane::connect(path, false).await?;
            if arguments.yes {
                plane.install().await?;
            }
            plane
        }
        None => {
            let plane = Plane::start(directory, arguments.port, clock.clone()).await?;
            let restored = state::restore(&plane.client, directory).await?;
            if restored > 0 {
                view.say(&format!(
                    "{restored} objects of an earlier run are taken up again"
                ));
            }
            plane
        }
    };
    let embedded = plane.url().is_some();
    if let Some(url) = plane.url() {
        view.say(&format!("management API server: {url}"));
    }
    if embedded || arguments.yes {
        plan::check(manifest, &plane).await?;
    }
    if let Some(plan) = Plan::read(manifest, &plane).await? {
        for line in plan.lines(&there) {
            view.say(&line);
        }
        let token = access.credential("token");
        let findings = plan.findings(&proxmox, token, &there).await;
        nothing_missing(&findings.map_err(|error| explained(url, &error))?)?;
    }
    if !arguments.yes {
        view.say("nothing was made; --yes makes it");
        return Ok(());
    }
    let manager = controllers::assemble(plane.client.clone(), &access, clock.clone(), None)?;
    view.ask(manager.runtime().clone());
    let client = plane.client.clone();
    let keeper = embedded.then(|| tokio::spawn(state::keep(client.clone(), directory.clone())));
    let parts = Parts {
        plane,
        access,
        lab: None,
        clock,
        simulated: false,
    };
    let ended = with_controllers(manager, async {
        tokio::select! {
            ended = parts.steps(arguments, manifest, directory, &mut view) => ended,
            () = interrupted() => Err("interrupted".into()),
        }
    })
    .await;
    if let Some(keeper) = keeper {
        keeper.abort();
        // What the controllers wrote last is kept, too: identities of machines are among it.
        state::save(&client, directory, &mut Vec::new()).await?;
    }
    let left = inventory(&proxmox, &namespace, &name).await?;
    if !left.is_empty() {
        view.say(&format!(
            "what remains in the datacenter:\n  {}\nthe same command goes on with it; --cleanup --yes removes it",
            listed(&left)
        ));
    }
    ended
}

/// Lists what was made for the cluster, and with `--yes` removes it.
async fn clean_up(
    arguments: &Arguments,
    directory: &Directory,
    proxmox: &ProxmoxClient,
    (namespace, name): (&str, &str),
    view: &mut View,
) -> Result<(), Error> {
    let there = inventory(proxmox, namespace, name).await?;
    if there.is_empty() {
        view.say(&format!(
            "nothing bears the marker of Cluster {namespace}/{name}"
        ));
    } else {
        view.say(&format!(
            "what bears the marker of Cluster {namespace}/{name}:\n  {}",
            listed(&there)
        ));
    }
    if !arguments.yes {
        view.say("nothing was removed; --cleanup --yes removes it");
        return Ok(());
    }
    for belonging in &there {
        remove(proxmox, namespace, name, belonging).await?;
        view.say(&format!("removed {} {}", belonging.vmid, belonging.name));
    }
    let left = inventory(proxmox, namespace, name).await?;
    if !left.is_empty() {
        return Err(format!("what remains:\n  {}", listed(&left)).into());
    }
    state::forget(directory)?;
    view.say("nothing of the cluster is left");
    Ok(())
}

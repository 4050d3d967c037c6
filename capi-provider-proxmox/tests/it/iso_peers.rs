//! Images are read by programs that others wrote: xorriso and isoinfo (Debian), pycdlib (PyPI).

use std::path::Path;
use std::process::Command;

use capi_provider_proxmox::iso::NoCloud;

/// User data of `length` bytes, of every value.
fn volume(length: usize) -> NoCloud {
    NoCloud {
        user_data: (0..length)
            .map(|index| (index * 7 + index / 256) as u8)
            .collect(),
        meta_data: "instance-id: 2bbfcadb-f96c-4584-ad34-f84e42b01ac2\nlocal-hostname: m0\n".into(),
        network_config: Some("version: 2\n".into()),
        vendor_data: (length % 2 == 1).then(|| "#cloud-config\n".into()),
    }
}

fn files(volume: &NoCloud) -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![
        ("user-data", volume.user_data.clone()),
        ("meta-data", volume.meta_data.clone().into_bytes()),
        (
            "network-config",
            volume.network_config.clone().unwrap().into_bytes(),
        ),
    ];
    files.extend(
        volume
            .vendor_data
            .clone()
            .map(|data| ("vendor-data", data.into_bytes())),
    );
    files
}

const LENGTHS: [usize; 6] = [0, 1, 2048, 65_535, 65_536, 3_000_001];

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("-version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed (Debian packages xorriso, genisoimage)");
    }
    found
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn write(directory: &Path, volume: &NoCloud) -> std::path::PathBuf {
    let path = directory.join("image.iso");
    std::fs::write(&path, volume.image().expect("an image")).expect("writable");
    path
}

#[test]
fn isoinfo_reads_every_file_through_rock_ridge_and_joliet() {
    if !has("isoinfo") {
        return;
    }
    for length in LENGTHS {
        let volume = volume(length);
        let directory = tempfile::tempdir().expect("a directory");
        let path = write(directory.path(), &volume);
        for extension in ["-R", "-J"] {
            for (name, content) in files(&volume) {
                let read = output(
                    Command::new("isoinfo")
                        .args([extension, "-i"])
                        .arg(&path)
                        .arg("-x")
                        .arg(format!("/{name}")),
                );
                assert!(
                    read == content,
                    "{name} of {length} bytes through {extension}"
                );
            }
        }
        let about = String::from_utf8_lossy(&output(
            Command::new("isoinfo").args(["-d", "-i"]).arg(&path),
        ))
        .into_owned();
        assert!(
            about.contains("Volume id: cidata") && about.contains("Joliet with UCS level 3 found"),
            "{about}"
        );
        assert!(
            about.contains("Rock Ridge signatures version 1 found"),
            "{about}"
        );
    }
}

#[test]
fn xorriso_extracts_every_file() {
    if !has("xorriso") {
        return;
    }
    for length in LENGTHS {
        let volume = volume(length);
        let directory = tempfile::tempdir().expect("a directory");
        let path = write(directory.path(), &volume);
        let out = directory.path().join("out");
        output(
            Command::new("xorriso")
                .args(["-abort_on", "WARNING", "-osirrox", "on", "-indev"])
                .arg(&path)
                .args(["-extract", "/"])
                .arg(&out),
        );
        let names: Vec<_> = std::fs::read_dir(&out)
            .expect("extracted")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(names.len(), files(&volume).len(), "{names:?}");
        for (name, content) in files(&volume) {
            assert!(
                std::fs::read(out.join(name)).expect(name) == content,
                "{name} of {length} bytes"
            );
        }
    }
}

const PYCDLIB: &str = r"
import io, sys, pycdlib
iso = pycdlib.PyCdlib()
iso.open(sys.argv[1])
assert iso.pvd.volume_identifier.rstrip(b' ') == b'cidata', iso.pvd.volume_identifier
assert iso.has_rock_ridge() and iso.has_joliet()
out = io.BytesIO()
iso.get_file_from_iso_fp(out, **{sys.argv[2]: '/' + sys.argv[3]})
sys.stdout.buffer.write(out.getvalue())
";

#[test]
fn pycdlib_reads_every_file_through_rock_ridge_and_joliet() {
    let Some(python) = std::env::var_os("PYTHON") else {
        println!("skipped: PYTHON names no interpreter with pycdlib");
        return;
    };
    if !Command::new(&python)
        .args(["-c", "import pycdlib"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: the interpreter that PYTHON names has no pycdlib");
        return;
    }
    for length in [0, 65_536, 3_000_001] {
        let volume = volume(length);
        let directory = tempfile::tempdir().expect("a directory");
        let path = write(directory.path(), &volume);
        for extension in ["rr_path", "joliet_path"] {
            for (name, content) in files(&volume) {
                let read = output(
                    Command::new(&python)
                        .args(["-c", PYCDLIB])
                        .arg(&path)
                        .args([extension, name]),
                );
                assert!(
                    read == content,
                    "{name} of {length} bytes through {extension}"
                );
            }
        }
    }
}

#[test]
fn the_image_that_the_go_provider_made_is_read() {
    let Some(upstream) = crate::upstream() else {
        return;
    };
    let directory = upstream.join("capmox/iso");
    let image = std::fs::read(directory.join("user-data.iso")).expect("the image");
    let volume = NoCloud::read(&image)
        .expect("readable")
        .expect("labelled cidata");
    assert_eq!(
        volume.user_data,
        std::fs::read(directory.join("user-data")).expect("user-data")
    );
    assert_eq!(
        volume.meta_data.into_bytes(),
        std::fs::read(directory.join("meta-data")).expect("meta-data")
    );
    assert_eq!(
        volume.network_config.expect("a network").into_bytes(),
        std::fs::read(directory.join("network-config")).expect("network")
    );
}

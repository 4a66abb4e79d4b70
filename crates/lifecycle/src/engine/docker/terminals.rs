//! The file system of a box's terminals, as a request to Docker.

use crate::container::LABEL_TERMINALS;
use crate::oci;
use bollard::models::{Mount, MountType, MountVolumeOptions, MountVolumeOptionsDriverConfig};
use std::collections::HashMap;

/// This mount, if it is the file system of terminals. Docker mounts one without a limit by itself, unless
/// something else is mounted there: this is a volume without a name, which Docker mounts at each start and
/// removes with the container.
pub fn terminals(oci::Mount { destination, kind, source, options }: &oci::Mount) -> Option<Mount> {
    (kind == "devpts").then(|| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(destination.to_string_lossy().into_owned()),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            labels: Some(HashMap::from([(LABEL_TERMINALS.to_owned(), String::new())])),
            driver_config: Some(MountVolumeOptionsDriverConfig {
                name: Some("local".to_owned()),
                options: Some(HashMap::from([
                    ("type".to_owned(), kind.clone()),
                    ("device".to_owned(), source.to_string_lossy().into_owned()),
                    ("o".to_owned(), options.join(",")),
                ])),
            }),
            ..Default::default()
        }),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn terminals_are_a_volume_without_a_name() {
        let mount = oci::Mount {
            destination: "/dev/pts".into(),
            kind: "devpts".to_owned(),
            source: "devpts".into(),
            options: vec!["nosuid".to_owned(), "max=256".to_owned()],
        };
        // By way of a Value, which sorts the keys of the maps.
        let value = serde_json::to_value(terminals(&mount)).unwrap();
        assert_snapshot!(value, @r#"{"Target":"/dev/pts","Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"device":"devpts","o":"nosuid,max=256","type":"devpts"}},"Labels":{"sshbox.terminals":""},"NoCopy":true}}"#);
        assert_eq!(terminals(&oci::Mount { kind: "tmpfs".to_owned(), ..mount }), None);
    }
}

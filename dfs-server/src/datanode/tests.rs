//! Tests of the heartbeat and of belonging to one cluster, against a coordinator of a few lines.

use super::*;
use dfs_core::ids::VolumeId;
use dfs_proto::v1::cluster_server::{Cluster, ClusterServer};
use dfs_proto::v1::{BeatReply, NodeBeat};
use parking_lot::Mutex;
use std::time::Instant;
use tonic::{Request, Response, Status};

/// Answers each beat for one cluster and keeps what it was told.
#[derive(Clone)]
struct Answering {
    cluster: [u8; 16],
    heard: Arc<Mutex<Vec<NodeBeat>>>,
}

#[tonic::async_trait]
impl Cluster for Answering {
    async fn beat(&self, request: Request<NodeBeat>) -> Result<Response<BeatReply>, Status> {
        self.heard.lock().push(request.into_inner());
        Ok(Response::new(BeatReply {
            cluster: self.cluster.to_vec(),
            node: 5,
            term: 3,
        }))
    }
}

async fn coordinator(cluster: [u8; 16]) -> (String, Arc<Mutex<Vec<NodeBeat>>>) {
    let heard = Arc::<Mutex<Vec<NodeBeat>>>::default();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let service = ClusterServer::new(Answering {
        cluster,
        heard: heard.clone(),
    });
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        crate::transport::server()
            .add_service(service)
            .serve_with_incoming(incoming),
    );
    (address, heard)
}

fn settings(dir: &std::path::Path, coordinators: Vec<String>) -> Settings {
    Settings {
        data_dir: dir.join("node"),
        coordinators,
        advertise: Some("node.example:7411".into()),
        zone: "rack7".into(),
        capacity: Some(1 << 30),
        reserve: Some(0),
        sharers: 1,
        care: Care {
            scrub_period: Duration::ZERO,
            repair_bandwidth: 0,
        },
        observer: Default::default(),
    }
}

/// Runs a datanode until `done` or five seconds are over; gives its cluster.
async fn run_until(settings: Settings, init: bool, done: impl Fn() -> bool) -> Option<uuid::Uuid> {
    let datanode = start_blocking(settings, init).await.unwrap();
    let membership = datanode.service.membership();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (tell, stop) = watch::channel(false);
    let serving = tokio::spawn(datanode.serve(listener, stop));
    let limit = Instant::now() + Duration::from_secs(5);
    while !done() && Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tell.send(true).unwrap();
    serving.await.unwrap().unwrap();
    membership.cluster()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_datanode_joins_the_first_cluster_and_never_another() {
    let dir = tempfile::tempdir().unwrap();
    let (own, heard) = coordinator([1; 16]).await;
    // The first address of the list answers nothing.
    let list = vec!["127.0.0.1:1".to_string(), own];
    let joined = run_until(settings(dir.path(), list), true, || heard.lock().len() > 1).await;
    assert_eq!(joined, Some(uuid::Uuid::from_bytes([1; 16])));
    let beats = heard.lock().clone();
    assert!(beats.len() > 1, "it goes on beating");
    assert_eq!(
        (beats[0].cluster.len(), beats[1].cluster.as_slice()),
        (0, [1; 16].as_slice())
    );
    assert_eq!(
        (beats[0].address.as_str(), beats[0].zone.as_str()),
        ("node.example:7411", "rack7")
    );
    assert_eq!(
        (beats[0].capacity_bytes, beats[0].free_bytes, beats[0].chunks),
        (1 << 30, 1 << 30, 0)
    );

    let (other, heard_other) = coordinator([2; 16]).await;
    let list = vec![other];
    let still = run_until(settings(dir.path(), list), false, || {
        !heard_other.lock().is_empty()
    })
    .await;
    assert_eq!(
        still,
        Some(uuid::Uuid::from_bytes([1; 16])),
        "the answer of another cluster changes nothing"
    );
    assert_eq!(
        heard_other.lock()[0].node,
        beats[0].node,
        "the same node as before"
    );
    let kept = std::fs::read_to_string(dir.path().join("node/identity.toml")).unwrap();
    assert!(kept.contains("01010101"), "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_are_kept_and_only_rise() {
    let dir = tempfile::tempdir().unwrap();
    let open = |init| DataDir::open(dir.path(), "datanode", init).unwrap();
    let membership = Membership::open(open(true)).unwrap();
    assert_eq!(
        membership.node(VolumeId(0)).unwrap_err().code(),
        tonic::Code::Unavailable
    );
    assert_eq!(
        membership.check_cluster(&[1; 16]).unwrap_err().code(),
        tonic::Code::Unavailable
    );
    membership.check_term(VolumeId(0), 4).unwrap();
    membership
        .learn(
            VolumeId(0),
            &BeatReply {
                cluster: vec![1; 16],
                node: 2,
                term: 9,
            },
        )
        .unwrap();
    assert!(
        membership
            .learn(
                VolumeId(0),
                &BeatReply {
                    cluster: vec![2; 16],
                    node: 2,
                    term: 10
                }
            )
            .is_err()
    );
    assert!(
        membership
            .learn(
                VolumeId(0),
                &BeatReply {
                    cluster: vec![1; 16],
                    node: 0,
                    term: 10
                }
            )
            .is_err()
    );
    drop(membership);
    let membership = Membership::open(open(false)).unwrap();
    assert!(membership.check_term(VolumeId(0), 8).is_err());
    membership.check_term(VolumeId(0), 9).unwrap();
    membership.check_cluster(&[1; 16]).unwrap();
    assert_eq!(
        membership.check_cluster(&[2; 16]).unwrap_err().code(),
        tonic::Code::FailedPrecondition
    );
    assert_eq!(
        membership.check_cluster(&[2; 3]).unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
    drop(membership);
    std::fs::write(dir.path().join("term"), "nine").unwrap();
    assert!(
        Membership::open(open(false))
            .err()
            .unwrap()
            .to_string()
            .contains("damaged")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_serves_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(dir.path(), vec![]);
    assert!(
        start_blocking(settings.clone(), false)
            .await
            .err()
            .unwrap()
            .to_string()
            .contains("--init")
    );
    let first = start_blocking(settings.clone(), true).await.unwrap();
    let second = start_blocking(settings, true).await;
    assert!(second.err().unwrap().to_string().contains("in use"));
    drop(first);
}

//! Extended attributes of all four namespaces.
use crate::Scene;
use integration::sys;
use std::fs::File;

// S8
#[test]
fn user_attributes_are_set_replaced_listed_and_removed() {
    let mut scene = Scene::new();
    let path = scene.join("f");
    File::create(&path).unwrap();
    assert_eq!(sys::list_xattrs(&path).unwrap(), Vec::<String>::new());
    sys::set_xattr(&path, "user.a", b"one", libc::XATTR_CREATE).unwrap();
    assert_eq!(
        sys::errno(sys::set_xattr(&path, "user.a", b"x", libc::XATTR_CREATE)),
        libc::EEXIST
    );
    assert_eq!(
        sys::errno(sys::set_xattr(&path, "user.b", b"x", libc::XATTR_REPLACE)),
        libc::ENODATA
    );
    sys::set_xattr(&path, "user.a", b"two", libc::XATTR_REPLACE).unwrap();
    let both = libc::XATTR_CREATE | libc::XATTR_REPLACE;
    assert_eq!(
        sys::errno(sys::set_xattr(&path, "user.a", b"x", both)),
        libc::EEXIST
    );
    assert_eq!(
        sys::errno(sys::set_xattr(&path, "user.b", b"x", both)),
        libc::ENODATA
    );
    sys::set_xattr(&path, "user.empty", b"", 0).unwrap();
    let large: Vec<u8> = (0..60_000u32).map(|n| n as u8).collect();
    sys::set_xattr(&path, "user.large", &large, 0).unwrap();
    let check = |path: &std::path::Path| {
        assert_eq!(sys::get_xattr(path, "user.a").unwrap(), b"two");
        assert_eq!(sys::get_xattr(path, "user.empty").unwrap(), b"");
        assert_eq!(sys::get_xattr(path, "user.large").unwrap(), large);
        let mut names = sys::list_xattrs(path).unwrap();
        names.sort();
        assert_eq!(names, ["user.a", "user.empty", "user.large"]);
        assert_eq!(sys::errno(sys::get_xattr(path, "user.absent")), libc::ENODATA);
    };
    check(&path);
    check(&scene.second().join("f"));
    File::open(&path).unwrap().sync_all().unwrap();
    scene.mount.kill_and_mount();
    check(&path);
    sys::remove_xattr(&path, "user.large").unwrap();
    assert_eq!(sys::errno(sys::remove_xattr(&path, "user.large")), libc::ENODATA);
    assert_eq!(sys::list_xattrs(&path).unwrap().len(), 2);
}

// S5, S8
#[test]
fn the_other_namespaces_and_the_limits() {
    let scene = Scene::new();
    let (path, link) = (scene.join("f"), scene.join("link"));
    File::create(&path).unwrap();
    std::os::unix::fs::symlink("f", &link).unwrap();
    for name in ["trusted.a", "security.a"] {
        for path in [&path, &link] {
            sys::set_xattr(path, name, b"value", 0).unwrap();
            assert_eq!(sys::get_xattr(path, name).unwrap(), b"value");
        }
    }
    assert_eq!(sys::errno(sys::set_xattr(&link, "user.a", b"x", 0)), libc::EPERM);
    assert_eq!(
        sys::errno(sys::set_xattr(&path, "nonsense.a", b"x", 0)),
        libc::EOPNOTSUPP
    );
    assert_eq!(
        sys::errno(sys::set_xattr(
            &path,
            &format!("user.{}", "n".repeat(251)),
            b"x",
            0
        )),
        libc::ERANGE
    );
    assert!(sys::set_xattr(&path, "user.a", &vec![0; 65_537], 0).is_err());
    sys::set_xattr(&path, &format!("user.{}", "n".repeat(250)), b"x", 0).unwrap();
}

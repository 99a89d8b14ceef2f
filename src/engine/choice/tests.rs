use super::*;

const PI_ENCODER: &str = "/dev/video11";

fn listed(fourcc: &[u8; 4], modes: &[(u32, u32, u32)]) -> Offer {
    let mode = |&(width, height, fps): &(u32, u32, u32)| Mode { size: (width, height), fps: Some(fps) };
    Offer { fourcc: *fourcc, sizes: Sizes::Listed(modes.iter().map(mode).collect()) }
}

/// What an everyday webcam offers at USB 2.
fn webcam() -> Vec<Offer> {
    vec![
        listed(b"MJPG", &[(1920, 1080, 30), (1280, 720, 30), (640, 480, 30)]),
        listed(b"YUYV", &[(640, 480, 30), (1280, 720, 10), (1920, 1080, 5)]),
    ]
}

/// The one of a Raspberry Pi up to the 4.
fn pi() -> Encoders {
    let formats = [PixelFormat::Yuv420, PixelFormat::Nv12, PixelFormat::Yuyv, PixelFormat::Rgb24];
    Encoders { hardware: Some((PI_ENCODER.into(), formats.to_vec())), software: true }
}

fn software() -> Encoders {
    Encoders { hardware: None, software: true }
}

fn wish(width: u32, height: u32, fps: u32) -> Wish {
    Wish { input: CameraInput::Auto, encoder: EncoderChoice::Auto, size: (width, height), fps }
}

fn plan(offers: &[Offer], encoders: &Encoders, wish: &Wish) -> String {
    choose(offers, encoders, wish).map(|plan| plan.to_string()).unwrap_or_else(|refusal| refusal.to_string())
}

#[test]
fn h264_is_passed_on_whatever_else_there_is() {
    let mut camera = webcam();
    camera.push(listed(b"H264", &[(1920, 1080, 30), (640, 480, 30)]));
    assert_eq!(
        plan(&camera, &pi(), &wish(1280, 720, 30)),
        "H264 640x480 at 30 frames per second, passed on as it is"
    );
    let encoded = Wish { input: CameraInput::Raw, ..wish(640, 480, 30) };
    assert_eq!(
        plan(&camera, &pi(), &encoded),
        "YUYV 640x480 at 30 frames per second, encoded by /dev/video11"
    );
}

#[test]
fn motion_jpeg_is_taken_where_raw_pictures_miss_the_rate() {
    let chosen = choose(&webcam(), &software(), &wish(1280, 720, 30)).expect("a plan");
    assert_eq!(chosen.to_string(), "MJPG 1280x720 at 30 frames per second, decoded, encoded in software");
    assert_eq!(chosen.reason, "uncompressed it reaches only 10 of 30 frames per second");
    assert_eq!(
        plan(&webcam(), &software(), &wish(640, 480, 30)),
        "YUYV 640x480 at 30 frames per second, converted to YU12, encoded in software"
    );
    // Ten frames per second are all that is asked for.
    assert_eq!(
        plan(&webcam(), &pi(), &wish(1280, 720, 10)),
        "YUYV 1280x720 at 10 frames per second, encoded by /dev/video11"
    );
}

#[test]
fn a_frame_or_two_a_second_are_not_worth_decoding() {
    let camera = [listed(b"MJPG", &[(1280, 720, 30)]), listed(b"YUYV", &[(1280, 720, 28)])];
    assert!(plan(&camera, &software(), &wish(1280, 720, 30)).starts_with("YUYV"));
}

#[test]
fn what_the_encoder_takes_as_it_is_comes_before_what_must_be_converted() {
    let all = [b"UYVY", b"RGB3", b"NV16", b"NV12", b"YUYV"];
    let camera = all.map(|fourcc| listed(fourcc, &[(640, 480, 30)]));
    let to = |takes: &[PixelFormat]| {
        let encoders = Encoders { hardware: Some((PI_ENCODER.into(), takes.to_vec())), software: false };
        let chosen = choose(&camera, &encoders, &wish(640, 480, 30)).expect("a plan");
        (name(chosen.fourcc), chosen.reason)
    };
    let as_it_is = "the encoder takes it as it is".to_owned();
    assert_eq!(to(&[PixelFormat::Yuyv, PixelFormat::Yuv420]), ("YUYV".to_owned(), as_it_is.clone()));
    assert_eq!(to(&[PixelFormat::Nv12]), ("NV12".to_owned(), as_it_is));
    assert_eq!(
        to(&[PixelFormat::Yuv420]),
        ("NV16".to_owned(), "what costs least to convert to YU12".to_owned())
    );
}

#[test]
fn the_cheapest_conversion_is_planar_then_packed_then_of_colours_then_decoding() {
    let mut camera =
        [b"YV12", b"YVYU", b"BGR3", b"MJPG"].map(|fourcc| listed(fourcc, &[(640, 480, 30)])).to_vec();
    for expected in ["YV12", "YVYU", "BGR3", "MJPG"] {
        // The order of the driver's list is no reason.
        camera.reverse();
        assert!(plan(&camera, &software(), &wish(640, 480, 30)).starts_with(expected), "{expected}");
        camera.retain(|offer| name(offer.fourcc) != expected);
    }
}

#[test]
fn a_picture_without_colours_is_the_last_resort() {
    let camera = [listed(b"GREY", &[(1280, 720, 60)]), listed(b"YUYV", &[(640, 480, 15)])];
    assert!(plan(&camera, &software(), &wish(1280, 720, 30)).starts_with("YUYV 640x480 at 15"));
    assert!(plan(&camera[..1], &software(), &wish(1280, 720, 30)).starts_with("GREY 1280x720 at 30"));
}

#[test]
fn the_size_that_is_asked_for_comes_before_the_rate() {
    let camera = [listed(b"YUYV", &[(640, 480, 30), (1280, 720, 10)])];
    let chosen = choose(&camera, &software(), &wish(1280, 720, 30)).expect("a plan");
    assert_eq!((chosen.size, chosen.fps), ((1280, 720), 10));
    assert!(chosen.reason.ends_with("though only 10 of 30 frames per second"), "{}", chosen.reason);
}

#[test]
fn the_nearest_size_is_the_largest_within_or_else_the_smallest() {
    let size = |sizes: Sizes, wish: &Wish| sizes.nearest(wish).size;
    let modes = listed(b"YUYV", &[(1920, 1080, 5), (640, 480, 30), (800, 600, 20), (640, 360, 30)]).sizes;
    assert_eq!(size(modes.clone(), &wish(1280, 720, 30)), (800, 600));
    assert_eq!(size(modes.clone(), &wish(640, 480, 30)), (640, 480));
    assert_eq!(size(modes, &wish(320, 240, 30)), (640, 360));
    let range = Sizes::Range { min: (16, 16), max: (1920, 1080), step: (16, 2), fps: None };
    assert_eq!(size(range.clone(), &wish(1366, 768, 30)), (1360, 768));
    assert_eq!(size(range.clone(), &wish(4096, 4096, 30)), (1920, 1080));
    assert_eq!(size(range, &wish(8, 8, 30)), (16, 16));
    assert_eq!(size(Sizes::Unknown, &wish(64, 64, 30)), (64, 64));
    assert_eq!(size(Sizes::Listed(vec![]), &wish(64, 64, 30)), (64, 64));
}

#[test]
fn of_two_rates_for_one_size_the_higher_counts() {
    let camera = [listed(b"YUYV", &[(640, 480, 30), (640, 480, 15), (640, 480, 20)])];
    assert!(plan(&camera, &software(), &wish(640, 480, 60)).contains("at 30 frames"));
}

#[test]
fn a_camera_is_not_asked_for_more_than_is_wanted() {
    let camera = [listed(b"YUYV", &[(640, 480, 60)])];
    assert!(plan(&camera, &software(), &wish(640, 480, 25)).contains("at 25 frames"));
}

#[test]
fn what_is_configured_is_kept_to() {
    let only = |input| Wish { input, ..wish(640, 480, 30) };
    assert!(plan(&webcam(), &software(), &only(CameraInput::Mjpeg)).starts_with("MJPG 640x480"));
    assert!(plan(&webcam(), &software(), &only(CameraInput::Raw)).starts_with("YUYV 640x480"));
    let by = |encoder| Wish { encoder, ..wish(640, 480, 30) };
    assert!(plan(&webcam(), &pi(), &by(EncoderChoice::Software)).ends_with("encoded in software"));
    let device = EncoderChoice::Device(PI_ENCODER.into());
    assert!(plan(&webcam(), &pi(), &by(device)).ends_with("encoded by /dev/video11"));
}

#[test]
fn an_encoder_that_takes_nothing_we_can_make_is_left_alone() {
    let strange = Encoders { hardware: Some((PI_ENCODER.into(), vec![PixelFormat::Rgb24])), software: true };
    assert!(plan(&webcam(), &strange, &wish(640, 480, 30)).ends_with("encoded in software"));
}

#[test]
fn a_refusal_says_what_there_is_and_what_to_do() {
    let only = |input| Wish { input, ..wish(640, 480, 30) };
    let raw = [listed(b"YUYV", &[(640, 480, 30)])];
    let refused = plan(&raw, &software(), &only(CameraInput::H264));
    assert!(refused.contains("no H.264 but YUYV") && refused.contains("video.input"), "{refused}");
    let refused = plan(&raw, &software(), &only(CameraInput::Mjpeg));
    assert!(refused.contains("no Motion JPEG but YUYV"), "{refused}");
    let bayer =
        [b"BA81", b"pRAA", b"RG10", b"GB10", b"BG10", b"BA10", b"RGGB"].map(|fourcc| listed(fourcc, &[]));
    let refused = plan(&bayer, &software(), &wish(640, 480, 30));
    assert!(refused.contains("BA81, pRAA, RG10, GB10, BG10, BA10 and 1 more"), "{refused}");
    assert!(refused.contains("video.source = \"command\""), "{refused}");
    let refused = plan(&raw, &Encoders::default(), &wish(640, 480, 30));
    assert!(refused.contains("--features openh264"), "{refused}");
    let missing = Wish { encoder: EncoderChoice::Device("/dev/video31".into()), ..wish(640, 480, 30) };
    let refused = plan(&raw, &software(), &missing);
    assert!(refused.contains("/dev/video31") && refused.contains("video.encoder"), "{refused}");
    assert!(plan(&[], &software(), &wish(640, 480, 30)).contains("nothing"));
}

#[test]
fn formats_are_named_as_people_write_them() {
    assert_eq!(name(*b"YUYV"), "YUYV");
    assert_eq!(name(*b"Y10 "), "Y10");
    assert_eq!(name([b'Y', b'1', b'6', b' ' | 0x80]), "Y16-BE");
}

"""The images that a bundle is evaluated and calibrated on."""

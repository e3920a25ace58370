"""What training promises and serving keeps: manifest, image transform, golden images."""

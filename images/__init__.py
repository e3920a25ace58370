"""The one way from an encoded image to network pixels; programs call `decoders.configure` first."""

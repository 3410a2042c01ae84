"""The flow core: transforms, latents, noise, encoders. Imports torch alone."""

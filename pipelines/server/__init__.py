"""The HTTP server: OpenAI's transcription and translation endpoints over one model."""

"""A web server for trained models: HTTP, WebSocket streams, metrics, and a page to try each model by hand."""

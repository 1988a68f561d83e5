"""What goes over the wire, as strict models; nothing past the edge sees a dict."""

"""What nobody recorded: motion, faces and the embedded corpus, drawn from facial action units."""

"""The torch side: builds the reference, captures its values, measures its noise floors. The only package with torch."""

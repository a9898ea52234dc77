"""What a run says, for a person: one offline HTML file, and the same sections as text. Plain data in."""

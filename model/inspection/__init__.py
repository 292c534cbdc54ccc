"""What a captured model shows: measures of attention, lenses, patching, pictures. Works on any model of ours."""

#!/bin/sh
# Print install.sh as one file that needs nothing beside it, for `curl … | sh`:   bundle.sh [URL of the release's files]
set -eu
cd "$(dirname "$0")"
awk -v url="${1:-}" '
	/^release_url=/ { print "release_url=" url; next }
	/^part\(\)/ {
		print "part() {\n\tcase $1 in"
		n = split("skiff.service skiff.openrc skiff-uninstall.sh", names, " ")
		for (i = 1; i <= n; i++) {
			print "\t" names[i] ") cat <<'\''END OF FILE'\''"
			while ((getline line < names[i]) > 0) print line
			print "END OF FILE\n\t\t;;"
		}
		print "\tesac\n}"
		next
	}
	{ print }
' install.sh

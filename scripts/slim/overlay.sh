#!/usr/bin/env bash
# Write bin/overlay.json, which makes Go use a text/template that lets the linker drop methods nobody calls. README.md says why.
set -euo pipefail
cd "$(dirname "$0")/../.."
# The methods that templates call: of cobra's Command and pflag's FlagSet, in help texts.
methods='AllChildCommandsHaveGroup CommandPath CommandPathPadding Commands DisplayName FlagUsages Groups HasAvailableFlags HasAvailableInheritedFlags
  HasAvailableLocalFlags HasAvailableSubCommands HasExample HasFlags HasHelpSubCommands HasInheritedFlags HasParent HasSubCommands
  InheritedFlags IsAdditionalHelpTopicCommand IsAvailableCommand LocalFlags Name NameAndAliases NamePadding PersistentFlags Runnable
  UsageString UseLine'
lookup='ptr.MethodByName(fieldName)'
source=$(go env GOROOT)/src/text/template/exec.go
mkdir -p bin/_slim # which ./... does not look into
if [ "$(grep -cF "$lookup" "$source")" != 1 ]; then
  echo "slim: $(go env GOVERSION) looks methods up elsewhere in text/template: the executable keeps them all" >&2
  echo '{"Replace":{}}' >bin/overlay.json
  exit
fi
{
  sed "s/$lookup/knownMethod(ptr, fieldName)/" "$source"
  echo
  echo '// knownMethod finds the methods that templates of this executable call.'
  echo 'func knownMethod(v reflect.Value, name string) reflect.Value {'
  echo '	switch name {'
  for m in $methods; do printf '	case "%s":\n		return v.MethodByName("%s")\n' "$m" "$m"; done
  echo '	}'
  echo '	return reflect.Value{}'
  echo '}'
} >bin/_slim/exec.go
printf '{"Replace":{"%s":"%s"}}\n' "$source" "$PWD/bin/_slim/exec.go" >bin/overlay.json

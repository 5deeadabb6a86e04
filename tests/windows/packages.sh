#!/bin/sh
# Judges the Windows packages without installing them: packages.sh BUILD_FOLDER VERSION
# Before it judges the installer it proves on damaged copies that it can.
set -u
export LC_ALL=C
build=$1 version=$2
name=vmrecover-$version-x64
root=${WIN64_CACHE:-.cache/win64}/root
work=$(mktemp -d "${TMPDIR:-/tmp}/vmpkg.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

check()                                              # WHAT OK(0/1) [DETAIL]
{
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL: $1${3:+: $3}"
    fi
}

# TABLE KEY COLUMN VALUE (a pattern; ? also for a blank or what the shell would take for its own; _ for nothing): what the installer must say
rows="
Property              UpgradeCode       Value        {AEAA3196-2092-4545-A654-9F5F0149A36B}
Property              ProductVersion    Value        $version
Property              ALLUSERS          Value        1
Property              REBOOT            Value        ReallySuppress
Property              SecureCustomProperties Value   *REMOVEDATA*
ServiceInstall        InstallService    Name         vmrecoverd
ServiceInstall        InstallService    ServiceType  16
ServiceInstall        InstallService    StartType    2
ServiceInstall        InstallService    ErrorControl 32769
ServiceInstall        InstallService    StartName    LocalSystem
ServiceInstall        InstallService    Arguments    _
ServiceInstall        InstallService    Description  Recovers*
ServiceControl        ControlService    Name         vmrecoverd
ServiceControl        ControlService    Event        163
ServiceControl        ControlService    Wait         1
Environment           Path              Name         =-?PATH
Environment           Path              Value        ?~?;?INSTALLDIR?
Registry              EventMessages     Key          SYSTEM?CurrentControlSet?Services?EventLog?Application?vmrecoverd
Registry              EventMessages     Value        ?#vmrecoverd.exe?
Registry              EventTypes        Value        #7
File                  vmrecoverd.exe    Version      $version.0
File                  vmrecover.exe     Version      $version.0
CustomAction          ConfigureService  Type         3090
CustomAction          ConfigureService  Target       install?--configure-only
CustomAction          EndService        Type         3154
CustomAction          EndService        Target       uninstall?--stop-only
CustomAction          RemoveData        Type         3090
CustomAction          RemoveData        Target       uninstall?--remove-data
InstallExecuteSequence RemoveExistingProducts Sequence 1501
InstallExecuteSequence ConfigureService Condition    \$Daemon=3
InstallExecuteSequence EndService       Condition    \$Daemon=2
InstallExecuteSequence RemoveData       Condition    REMOVE=*REMOVEDATA=*UPGRADINGPRODUCTCODE
InstallExecuteSequence WriteEnvironmentStrings Condition _
InstallExecuteSequence RemoveEnvironmentStrings Condition _
Directory             INSTALLDIR        Directory_Parent ProgramFiles64Folder
"

cell()                                               # MSI TABLE KEY COLUMN: the cell, of a table whose first column is the key
{
    msiinfo export "$1" "$2" 2>/dev/null | tr -d '\r' | awk -F '\t' -v key="$3" -v column="$4" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i }
        NR > 3 && $1 == key && at { print $at; found = 1 }
        END { exit !found }'
}

sequence() { cell "$1" InstallExecuteSequence "$2" Sequence; }

judge()                                              # MSI: prints what is wrong with it
{
    echo "$rows" | while read -r table key column want; do
        [ -n "$table" ] || continue
        if ! got=$(cell "$1" "$table" "$key" "$column"); then
            echo "$table has no row $key"
            continue
        fi
        [ "$want" != _ ] || want=""
        # shellcheck disable=SC2254
        case $got in $want) ;; *) printf '%s\n' "$table $key $column is \"$got\", not \"$want\"";; esac
    done
    # the service is configured once it exists and before it starts; data go when the service is gone and the program still there
    order="EndService StopServices DeleteServices RemoveData RemoveFiles InstallFiles InstallServices ConfigureService StartServices InstallFinalize"
    last=0
    for action in $order; do
        at=$(sequence "$1" "$action") || { echo "no action $action"; continue; }
        [ "$at" -gt "$last" ] || echo "$action comes too early"
        last=$at
    done
    # older versions are replaced, newer ones refused
    msiinfo export "$1" Upgrade 2>/dev/null | tr -d '\r' | awk -F '\t' -v v="$version" '
        $7 == "WIX_UPGRADE_DETECTED" && $2 == "" && $3 == v && !int($5 / 2) % 2 { up = 1 }
        $7 == "WIX_DOWNGRADE_DETECTED" && $2 == v && $3 == "" && int($5 / 2) % 2 { down = 1 }
        END { if (!up) print "older versions are not replaced"; if (!down) print "newer versions are not detected" }'
    conditions=$(msiinfo export "$1" LaunchCondition 2>/dev/null)
    case $conditions in *"NOT WIX_DOWNGRADE_DETECTED"*) ;; *) echo "newer versions are not refused";; esac
    case $conditions in *"WINDOWSBUILD >= 14393"*) ;; *) echo "old versions of Windows are not refused";; esac
    # the data folder is in no table: nothing of the installer's own ever removes it
    for table in Directory CreateFolder RemoveFile; do
        ! msiinfo export "$1" $table 2>/dev/null | grep -qiE 'CommonAppData|ProgramData' || echo "$table knows the data folder"
    done
    msiinfo suminfo "$1" | grep -q '^Template: x64;1033' || echo "not for x64"
}

# --- that this can fail
msi=$build/$name.msi
[ -f "$msi" ] || { echo "FAIL: $msi is missing: run \`make windows\`"; exit 1; }
damage()                                             # SQL, WHAT MUST BE SAID
{
    cp "$msi" "$work/damaged.msi"
    msibuild "$work/damaged.msi" -q "$1" >/dev/null 2>&1
    said=$(judge "$work/damaged.msi")
    case $said in *"$2"*) r=0;; *) r=1;; esac
    check "damaged installer: $2" $r "$said"
}
damage "DELETE FROM ServiceControl WHERE ServiceControl = 'ControlService'" "ServiceControl has no row"
damage "UPDATE ServiceInstall SET StartType = 3" "StartType is \"3\""
damage "UPDATE InstallExecuteSequence SET Sequence = 3 WHERE Action = 'StartServices'" "StartServices comes too early"
damage "DELETE FROM Upgrade WHERE ActionProperty = 'WIX_UPGRADE_DETECTED'" "older versions are not replaced"
damage "DELETE FROM LaunchCondition WHERE Condition = 'NOT WIX_DOWNGRADE_DETECTED'" "newer versions are not refused"
damage "UPDATE Environment SET Value = '[INSTALLDIR]'" "Environment Path Value"

# --- the installer, and that all packages hold the same files, which are those that were built
said=$(judge "$msi"); [ -z "$said" ]; check "$name.msi" $? "$said"
mkdir "$work/msi"
msiextract -C "$work/msi" "$msi" >/dev/null 2>&1; check "$name.msi can be unpacked" $?
unzip -q -d "$work" "$build/$name.zip" 2>/dev/null; check "$name.zip can be unpacked" $?
for f in vmrecoverd.exe vmrecover.exe README.txt LICENSE.txt THIRD-PARTY-NOTICES.txt vmrecover.conf.sample; do
    [ -s "$work/$name/$f" ]; check "$name.zip has $f" $?
    in_msi=$(find "$work/msi" -name "$f" | head -n 1)
    cmp -s "${in_msi:-/nothing}" "$work/$name/$f"; check "$name.msi has the same $f" $?
    case $f in *.exe) cmp -s "$build/$f" "$work/$name/$f"; check "$f is the one that was built" $?;; esac
done
[ "$(find "$work/$name" -type f | wc -l)" = 6 ]; check "$name.zip has nothing else" $?
! grep -q '@[A-Z]*@' "$work/$name/README.txt"; check "README.txt is filled in" $?

# --- licences
notices=$(cat "$work/$name/THIRD-PARTY-NOTICES.txt")
while read -r library package v; do
    [ "$library" = cmocka ] && continue
    case $notices in *"$library: source package $package, version $v"*"$library ($package $v)"*) r=0;; *) r=1;; esac
    check "notices name $library $v" $r
done <"$root/VERSIONS"
case $notices in *"GNU LESSER GENERAL PUBLIC LICENSE"*"Version 2.1, February 1999"*) r=0;; *) r=1;; esac; check "notices hold the LGPL" $r
tar -tf "$build/vmrecover-$version-lgpl-source.tar" 2>/dev/null | grep -q "libmicrohttpd/libmicrohttpd_.*\.dsc"; check "the LGPL library's source lies beside" $?

echo "packages: $passed passed, $failed failed"
[ $failed = 0 ]
